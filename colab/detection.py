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
# # Detect objects
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcv/jaxcv/blob/main/colab/detection.ipynb)
#
# A box and a class for every object: from images with boxes to a trained detector, its average precision,
# and labelled boxes on images of any size, on a TPU, a GPU or a CPU. Nothing is downloaded but jaxcv
# itself: without a data set at hand the notebook draws squares, circles and triangles.
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
import json
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

from jaxcv.configs import bccd_fcos, shapes_fcos
from jaxcv.data import COCODetection, Shapes, contact_sheet, prepared
from jaxcv.drawing.boxes import draw_boxes
from jaxcv.drawing.palettes import class_palette
from jaxcv.image import (
    ColorJitter,
    RandomHorizontalFlip,
    RandomScaleCrop,
    iou_matrix,
    nms,
    transform_sample,
)
from jaxcv.report import report_run
from jaxcv.tasks.detection.predict import detect_files, make_detector
from jaxcv.train import evaluate_state, make_evaluator, open_workdir, train

RUNS = Path("runs")
FAST = bool(os.environ.get("JAXCV_FAST"))  # small images and few steps: the test of this notebook
BCCD_HERE = "bccd" in prepared() and not FAST


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
# ## Images and boxes
#
# A record is an image with up to M boxes `(x0, y0, x1, y1)` in pixels and a class for each; what is left
# of the M rows is padding with class -1, so that all records have one shape. `COCODetection` and
# `VOCDetection` read the usual files, `TFDSDetection` prepared TFDS sets; images of any size are
# letterboxed to one. Where the TFDS set `bccd` is prepared (`TFDS_DATA_DIR`), blood cells are taken.

# %%
if BCCD_HERE:
    experiment = replace(bccd_fcos.experiment(), steps=1200, eval_every=400)
else:
    experiment = shapes_fcos.experiment()
if FAST:
    experiment = replace(
        experiment, data=Shapes(num_examples=512, num_test_examples=48, image_size=64), steps=240
    )
data = experiment.data
source, test_source = data.open("train"), data.open("test")
names, palette = source.class_names, class_palette(source.class_names, data)
print(f"{len(source):,} training and {len(test_source):,} test images of {', '.join(names)}")
record = next(r for r in (source[i] for i in range(20)) if (r["classes"] >= 0).sum() > 2)
for name, value in record.items():
    print(f"{name:10} {value.dtype} {value.shape}")
display(contact_sheet(source, rows=2, columns=5))

# %% [markdown]
# ## Augmentation: boxes follow their image
#
# `transform_sample` applies the transforms of classification to a whole sample: what moves pixels moves the
# boxes by the same matrix, clips them to the image, and drops one of which too little is left. In training
# this happens inside the step, on the device; `Mosaic` joins four images there too.


# %%
def drawn(image, boxes, classes):
    """The image with its boxes."""
    real = np.asarray(classes) >= 0
    chosen = np.asarray(classes)[real]
    return draw_boxes(
        np.asarray(image), np.asarray(boxes)[real], [names[c] for c in chosen], palette[chosen]
    )


height, width = record["image"].shape[:2]
augment = (
    RandomHorizontalFlip(),
    RandomScaleCrop(size=(height, width), scale=(0.6, 1.6)),
    ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
)


def augmented(key):
    """One variant of the record."""
    return transform_sample(augment, key, record, min_visibility=0.3)


variants = jax.jit(jax.vmap(augmented))(jax.random.split(jax.random.key(1), 4))
variants = {name: np.asarray(value) for name, value in variants.items()}
show(
    [
        drawn(record["image"], record["boxes"], record["classes"]),
        *(
            drawn(variants["image"][i], variants["boxes"][i], variants["classes"][i])
            for i in range(4)
        ),
    ],
    ["record", "augmented"],
)
assert np.all(variants["boxes"] >= 0)
assert np.all(variants["boxes"] <= [width, height, width, height])

# %% [markdown]
# ## Overlap, and what is suppressed
#
# Intersection over union says how much two boxes agree. Non-maximum suppression keeps the best box and
# drops those that overlap it too much, jitted and with fixed shapes, class by class:

# %%
boxes = jnp.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]], jnp.float32)
scores, classes = jnp.array([0.9, 0.8, 0.7, 0.6]), jnp.array([0, 0, 0, 1])
print(np.round(np.asarray(iou_matrix(boxes, boxes)), 2))
kept, valid = nms(boxes, scores, classes=classes, iou_threshold=0.5, max_detections=4)
kept = np.asarray(kept)[np.asarray(valid)].tolist()
print("kept:", kept, "- the second overlaps the first by 9/11; the last is of another class")
assert kept == [0, 2, 3]

# %% [markdown]
# ## Who is to find what
#
# FCOS has one place to stand at every position of its feature maps. Places near the centre of an object are
# to find it, on the level that fits its size; all others are to say that there is nothing. Below, the
# places that are to find something in the record, a dot each.

# %%
model, task = experiment.model, experiment.task
images = jnp.asarray(record["image"])[None] / 255
variables = model.init(jax.random.key(0), images)
outputs = model.apply(variables, images)
batch = {name: jnp.asarray(value)[None] for name, value in record.items()}
batch["mask"] = jnp.array([True])
targets = task.targets(outputs, batch)
positive = np.asarray(targets.positive[0])
figure, ax = plt.subplots(figsize=(5, 5 * height / width), layout="constrained")
ax.imshow(drawn(record["image"], record["boxes"], record["classes"]))
x, y = np.asarray(outputs.anchors.centers)[positive].T
strides = np.asarray(outputs.anchors.strides)[positive]
ax.scatter(x - 0.5, y - 0.5, s=strides * 3, c=strides, cmap="cool", edgecolor="black")
ax.set_axis_off()
plt.show()
objects = (record["classes"] >= 0).sum()
print(f"{positive.sum()} of {len(positive)} places are to find one of {objects} objects")

# %% [markdown]
# An image without objects is an example like any other: everything in it is background.

# %%
empty = {**batch, "classes": jnp.full_like(batch["classes"], -1)}
values, weights, _ = task.loss(outputs, empty)
print(f"no objects: loss {float(values[0]):.3f}, positives {float(weights[0]):.0f}")
assert np.isfinite(values).all()
assert values[0] > 0
assert weights[0] == 0

# %% [markdown]
# ## Training
#
# The same step, loop, checkpoints and logs as for every task. The losses of all devices are divided by the
# number of positives of the whole batch.

# %%
workdir = RUNS / ("bccd" if BCCD_HERE else "shapes")
started = time.perf_counter()
results = train(experiment, workdir)
print(f"{time.perf_counter() - started:.0f} s")
for name in ("average_precision", "average_precision_50", "average_recall_100", "best_f1"):
    print(f"{name:22}{results['test'][name]:.3f}")

# %% [markdown]
# ## Average precision
#
# Sorted by score, detections have a precision (how many are right) at every recall (how many objects are
# found). The average precision of a class is the mean of that curve, made monotone, at the recalls 0, 0.01,
# ..., 1; COCO's figure is the mean over ten limits of the overlap from 0.5 to 0.95, and over classes.

# %%
run, state = open_workdir(workdir)
summary = evaluate_state(make_evaluator(run), state)["test"]
curves = np.array(summary["precision_by_recall_50"], float)
np.testing.assert_allclose(np.mean(curves), summary["average_precision_50"], rtol=1e-6)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, curve, color in zip(names, curves, palette / 255):
    ax.plot(np.linspace(0, 1, 101), curve, label=f"{name}, AP50 {np.mean(curve):.3f}", color=color)
ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
ax.legend()
plt.show()

# %% [markdown]
# ## Images of any size
#
# `jaxcv predict RUN IMAGE ...` does this for files: the image is letterboxed as in training, the boxes are
# brought back to its own size, drawn, and written as COCO JSON.

# %%
variables = state.variables if state.ema is None else state.ema
detect = make_detector(run, variables)
panorama = np.concatenate([test_source[i]["image"] for i in range(2)], axis=1)
photo = RUNS / "photo.png"
Image.fromarray(panorama).save(photo)
for row in detect_files(run, variables, [str(photo)], RUNS / "predictions"):
    print(row["drawn"], row["height"], "x", row["width"], len(row["detections"]), "objects")
show([np.asarray(Image.open(row["drawn"]))])
table = json.loads((RUNS / "predictions" / "detections.json").read_text())
print({name: len(rows) for name, rows in table.items()})

# %% [markdown]
# What it writes is COCO's own format, so it can be read as data again, to correct it by hand and train on.

# %%
again = COCODetection(
    images=".", annotations=str(RUNS / "predictions" / "detections.json"), test_fraction=0
)
reread = again.open("train")[0]
print((reread["classes"] >= 0).sum(), "boxes of", ", ".join(names))

# %% [markdown]
# ## Report
#
# One HTML file that needs nothing beside it: precision and recall of each class, the worst images with what
# was right, wrong and missed, sizes, confusion, settings.

# %%
report = report_run(workdir, experiment=experiment)
print(f"{report}, {report.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## From here
#
# - Your own files: `COCODetection(images=..., annotations=...)`, `VOCDetection(root=...)`; prepared TFDS
#   sets: `TFDSDetection`.
# - Anchors: `RetinaNet`. Other assignments: `MaxIoU`, `ATSS` in `jaxcv.tasks.detection.assignment`.
# - Presets: `shapes_fcos`, `bccd_fcos`, `bccd_retinanet`, `voc_fcos`, `coco_retinanet_r50` in
#   `jaxcv/configs`.
