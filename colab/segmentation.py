# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Segment images
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcv/jaxcv/blob/main/colab/segmentation.ipynb)
#
# A class for every pixel: from images and their masks to a trained network, its IoU, and label maps of
# images of any size, on a TPU, a GPU or a CPU. Nothing is downloaded but jaxcv itself: without a data
# set at hand the notebook draws one, and reads it as it would read yours.
#
# On Colab choose the machine first: *Runtime > Change runtime type*.

# %%
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and not importlib.util.find_spec("jaxcv"):
    # Adds jaxcv and what it lacks; what the runtime has is listed, and stays as it is. Its jax belongs to
    # the libtpu or CUDA beside it, and a package exchanged under a running kernel crashes it.
    pip = [sys.executable, "-m", "pip"]
    with open("runtime.txt", "w") as runtime:
        subprocess.run([*pip, "list", "--format=freeze"], stdout=runtime, check=True)
    address = "git+https://github.com/jaxcv/jaxcv"
    subprocess.run([*pip, "install", "--quiet", "--constraint", "runtime.txt", address], check=True)

from jaxcv.notebook import prepare_notebook

prepare_notebook()

# %%
# %matplotlib inline
import os
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

from jaxcv.configs import camvid_unet
from jaxcv.data import MaskFolder, contact_sheet, encode_mask, prepared
from jaxcv.drawing.index_maps import overlay
from jaxcv.drawing.palettes import class_palette
from jaxcv.image import (
    ColorJitter,
    Normalize,
    RandomHorizontalFlip,
    RandomRotation,
    RandomScaleCrop,
    transform_sample,
)
from jaxcv.models import ConvBackbone, UNet
from jaxcv.report import report_run
from jaxcv.tasks import CrossEntropy, Dice, Segmentation, Sum
from jaxcv.tasks.segmentation.inference import Inference, segment
from jaxcv.tasks.segmentation.predict import segment_files
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Optimizer,
    evaluate_state,
    make_evaluator,
    open_workdir,
    train,
)

RUNS = Path("runs")
FAST = bool(os.environ.get("JAXCV_FAST"))  # a small model and few steps: the test of this notebook
CAMVID_HERE = "camvid" in prepared() and not FAST


def show(pictures, titles=(), width=11.0):
    """Draws pictures in a row."""
    height = width / len(pictures) * pictures[0].shape[0] / pictures[0].shape[1]
    figure, axes = plt.subplots(1, len(pictures), figsize=(width, height + 0.4), squeeze=False)
    for i, (ax, picture) in enumerate(zip(axes[0], pictures)):
        ax.imshow(picture)
        ax.set_axis_off()
        if i < len(titles):
            ax.set_title(titles[i], fontsize=10)
    figure.tight_layout(pad=0.4)
    plt.show()


# %% [markdown]
# ## Images and masks
#
# A mask is an image of the same size whose values are class numbers: a PNG with one channel, or with a
# palette whose *indices* count. Value 255 is ignored: such pixels have no loss, no gradient, and count
# in no metric.
#
# Where the TFDS set `camvid` is prepared (`TFDS_DATA_DIR`), street scenes are taken. Otherwise this cell
# draws discs and squares on a noisy ground, with a line around each that is ignored, as Pascal VOC has
# it, and writes them to two folders.


# %%
def draw_scene(rng, size=(60, 80), shapes=4):
    """An image [H, W, 3] of discs and squares, and its mask [H, W]."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, np.uint8)
    image = rng.normal(90, 30, (*size, 3)) + rng.normal(0, 25, 3)
    for _ in range(shapes):
        kind, radius = rng.integers(1, 3), rng.uniform(7, 14)
        down, across = rows - rng.uniform(0, size[0]), columns - rng.uniform(0, size[1])
        distance = np.hypot(down, across) if kind == 1 else np.maximum(abs(down), abs(across))
        mask[distance < radius + 1] = 255
        mask[distance < radius] = kind
        # Discs and squares are of any colour: the form alone tells them apart.
        image[distance < radius] = rng.normal(rng.uniform(60, 230, 3), 15, (*size, 3))[
            distance < radius
        ]
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_scenes(root, count, seed=0):
    """Writes root/images/*.png and root/masks/*.png."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, mask = draw_scene(rng)
        Image.fromarray(image).save(root / "images" / f"{i:04}.png")
        (root / "masks" / f"{i:04}.png").write_bytes(encode_mask(mask))


if CAMVID_HERE:
    data = camvid_unet.experiment().data
else:
    scenes = RUNS / "scenes"
    write_scenes(scenes, 80 if FAST else 500)
    data = MaskFolder(
        images=str(scenes / "images"),
        masks=str(scenes / "masks"),
        class_names=("background", "disc", "square"),
    )

source, test_source = data.open("train"), data.open("test")
names, palette = source.class_names, class_palette(source.class_names, data)
record = source[0]
print(f"{len(source):,} training and {len(test_source):,} test images of {len(names)} classes")
for name, value in record.items():
    print(f"{name:6} {value.dtype} {value.shape}, values {value.min()} to {value.max()}")
display(contact_sheet(source, rows=2, columns=6))

# %% [markdown]
# Masks are where data sets go wrong, and a wrong mask trains in silence. So nothing is guessed: a value
# without a meaning, a size that differs, a missing mask or a colour mask ends with one line that names
# the file. Here a mask of another kind than is expected:

# %%
wrong = RUNS / "wrong"
for folder in ("images", "masks"):
    (wrong / folder).mkdir(parents=True, exist_ok=True)
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(wrong / folder / f"{i}.png")
try:
    MaskFolder(
        images=str(wrong / "images"), masks=str(wrong / "masks"), class_names=("a", "b")
    ).open("train")
except ValueError as error:
    print(error)

# %% [markdown]
# ## Augmentation: the mask follows its image
#
# The transforms are those of classification. `transform_sample` applies them to a whole sample: what
# moves pixels moves the mask by the same matrix, with the nearest pixel and 255 where nothing was;
# what changes colours changes the image alone. In training this happens inside the step, on the device.

# %%
height, width = record["image"].shape[:2]
augment = (
    RandomHorizontalFlip(),
    RandomScaleCrop(size=(height, width), scale=(0.75, 1.75)),
    RandomRotation(degrees=10),
    ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
)


def augmented(key):
    """One variant of the first training record."""
    return transform_sample(augment, key, record)


variants = jax.jit(jax.vmap(augmented))(jax.random.split(jax.random.key(1), 4))
variants = {name: np.asarray(value) for name, value in variants.items()}
show([record["image"], *variants["image"]], ["image", "augmented"])
show(
    [
        overlay(image, label, palette)
        for image, label in zip(
            [record["image"], *variants["image"]], [record["label"], *variants["label"]]
        )
    ],
    ["with its mask", "the mask has followed"],
)

# The image is just what it would be alone, and no pixel of a mask has a value of its own making.
assert set(np.unique(variants["label"])) <= {*range(len(names)), 255}

# %% [markdown]
# ## A network, a loss, a training
#
# `UNet` stands on any backbone. The task adds up pixel and region losses; its mean is over the valid
# pixels of the whole batch, on however many devices. An image whose mask is all 255 has loss 0 and
# gradient 0:

# %%
C = len(names)
task = Segmentation(num_classes=C, objective=Sum((CrossEntropy(), 1.0), (Dice(), 0.5)))
logits = jax.random.normal(jax.random.key(0), (1, 8, 8, C))
batch = {"label": jnp.full((1, 8, 8), 255), "mask": jnp.array([True])}
loss, gradient = jax.value_and_grad(lambda z: jnp.sum(task.loss(z, batch)[0]))(logits)
print(f"all ignored: loss {loss}, largest gradient {jnp.abs(gradient).max()}")
assert loss == 0
assert not gradient.any()

# %%
if CAMVID_HERE:
    experiment = replace(camvid_unet.experiment(), steps=1000, eval_every=250)
else:
    experiment = Experiment(
        data=data,
        model=UNet(
            num_classes=C,
            backbone=ConvBackbone(widths=(12, 24, 48), patch=2),
            widths=(24, 12),
        ),
        task=task,
        optimizer=Optimizer(
            learning_rate=0.01, algorithm=AdamW(), schedule=Cosine(warmup_steps=20)
        ),
        batch_size=16,
        steps=80 if FAST else 600,
        augment=(augment[0], augment[1], augment[3]),
        preprocess=(Normalize(),),
        eval_batch_size=16,
        eval_every=40 if FAST else 100,
        log_every=20,
    )
workdir = RUNS / ("camvid" if CAMVID_HERE else "shapes")

started = time.perf_counter()
results = train(experiment, workdir)
print(f"{time.perf_counter() - started:.0f} s")
for name in ("mean_iou", "pixel_accuracy", "mean_dice", "boundary_f1", "loss"):
    print(f"{name:16}{results['test'][name]:.3f}")

# %% [markdown]
# ## Mean IoU
#
# The intersection over union of a class is its right pixels over all pixels that are it or are taken
# for it; the mean over classes weighs a rare class like a common one. Pixel accuracy does not, and is
# high for whoever says *background* everywhere. Both come from one confusion matrix, counted exactly
# on the device over all test pixels:

# %%
run, state = open_workdir(workdir)
summary = evaluate_state(make_evaluator(run), state)["test"]
confusion = np.array(summary["confusion_matrix"])
hits = np.diagonal(confusion)
iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
np.testing.assert_allclose(iou.mean(), summary["mean_iou"])
majority = confusion.sum(1).max() / confusion.sum()
print(
    f"pixel accuracy {summary['pixel_accuracy']:.1%}; of the commonest class alone {majority:.1%}"
)

order = np.argsort(iou)
figure, ax = plt.subplots(figsize=(6, 0.35 * C + 0.8), layout="constrained")
ax.barh([names[c] for c in order], iou[order], color=palette[order] / 255, edgecolor="grey")
ax.axvline(iou.mean(), color="grey", linestyle="--")
ax.set(xlim=(0, 1), title=f"IoU of each class; mean {iou.mean():.1%}")
ax.xaxis.set_major_formatter("{x:.0%}")
plt.show()

# %% [markdown]
# ## Images of any size
#
# A predictor is a function from images to probabilities `[B, H, W, C]`, and predictors combine:
# windows that overlap and are blended, several scales, the mirror image. Below, six test images in one
# panorama, larger than anything in training; whole, then in windows of the training size.

# %%
panorama = np.concatenate(
    [
        np.concatenate([test_source[3 * row + i]["image"] for i in range(3)], axis=1)
        for row in range(2)
    ]
)
truth = np.concatenate(
    [
        np.concatenate([test_source[3 * row + i]["label"] for i in range(3)], axis=1)
        for row in range(2)
    ]
)
variables = jax.device_get(state.variables)  # on one device


def apply(images):
    """The network, from pixels in [0, 1] to logits."""
    for transform in experiment.preprocess:
        images = transform(images)
    return experiment.model.apply(variables, images, train=False)


ways = {
    "whole": Inference(),
    "sliding window": Inference(window=(height, width), overlap=0.5),
    "window, mirrored too": Inference(window=(height, width), overlap=0.5, flip=True),
}
maps, accuracies = {}, {}
for name, inference in ways.items():
    maps[name], confidence = segment(inference.predictor(apply), jnp.asarray(panorama) / 255)
    valid = truth != 255
    accuracies[name] = float(np.mean(maps[name][valid] == truth[valid]))
    print(
        f"{name:22}pixel accuracy {accuracies[name]:.1%}, mean confidence {confidence.mean():.2f}"
    )

show([panorama, overlay(panorama, truth, palette)], ["panorama", "truth"])
show([overlay(panorama, m, palette) for m in maps.values()], list(maps))

# %% [markdown]
# ## Files
#
# From a shell `jaxcv predict RUN IMAGE ...` does the same for files, with `--window 256 256`,
# `--scales 0.75 1 1.25` and `--flip` if you like; here is the function behind it. The model sees an image
# at the scale of its training; the index map has the image's own size. It is a PNG whose indices are
# the classes, so it can serve as a mask again.

# %%
photo = RUNS / "photo.png"
Image.fromarray(test_source[0]["image"]).save(photo)
for row in segment_files(run, state.variables, [str(photo)], RUNS / "predictions"):
    fractions = {
        name: round(fraction, 3) for name, fraction in row["fractions"].items() if fraction
    }
    print(row["index_map"], row["height"], "x", row["width"], fractions)
index_map = np.asarray(Image.open(row["index_map"]))
image, label = test_source[0]["image"], test_source[0]["label"]
prediction = np.asarray(Image.open(row["overlay"]))
show([image, overlay(image, label, palette), prediction], ["image", "truth", "prediction"])

# %% [markdown]
# ## Report
#
# One HTML file that needs nothing beside it: curves, IoU by class and by image, the worst images with
# their errors, confusion matrix, settings.

# %%
report = report_run(workdir, experiment=experiment)
print(f"{report}, {report.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## From here
#
# - Your own folders: `MaskFolder(images=..., masks=..., class_names=...)`; its docstring writes out Pascal
#   VOC, Cityscapes, ADE20K and CamVid. Data sets of TFDS: `TFDSSegmentation`.
# - Other networks: `FPN`, `DeepLabV3Plus`, `PSPNet`, over `ConvBackbone` or `ResNetBackbone`.
# - Presets: `camvid_unet`, `camvid_deeplab`, `pets_unet`, `cityscapes_deeplab` in `jaxcv/configs`.
