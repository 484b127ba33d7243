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
# # Train an image classifier
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcv/jaxcv/blob/main/colab/train_classifier.ipynb)
#
# From 1,797 handwritten digits to a trained network, its mistakes and its report, on a TPU, a GPU or a
# CPU: the same cells. Nothing is downloaded but jaxcv itself. On the way the training step is opened:
# it is a pure function of (state, batch), and you can call it by hand.
#
# On Colab choose the machine first: *Runtime > Change runtime type*.

# %%
import importlib.util
import os
import subprocess
import sys
import tempfile
from glob import glob
from importlib import metadata

JAXCV = "git+https://github.com/jaxcv/jaxcv"


def installed(name):
    """Gives the version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pip_install(*words):
    """Runs pip in this notebook's own Python."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *words], check=True)


def install_jaxcv():
    """Adds jaxcv and what it lacks to a runtime whose jax stays as it is."""
    from packaging.requirements import Requirement

    pip_install("--no-deps", JAXCV)
    lacking = []
    for requirement in map(Requirement, metadata.requires("jaxcv")):
        found = installed(requirement.name)
        fits = found and requirement.specifier.contains(found, prereleases=True)
        if fits or (requirement.marker and not requirement.marker.evaluate()):
            continue
        if requirement.name == "jax":
            print(f"WARNING: this runtime has jax {found}, and jaxcv is made for {requirement}.")
            print("Choose a newer version under Runtime > Change runtime type.")
        else:
            lacking.append(str(requirement))
    # jax belongs to the libtpu or CUDA libraries beside it, so pip must not exchange any of them.
    names = {(package.name or "").lower() for package in metadata.distributions()}
    fixed = [n for n in names if n in ("jax", "jaxlib", "libtpu", "numpy") or "jax-cuda" in n]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(f"{name}=={installed(name)}" for name in fixed))
        constraints.flush()
        if lacking:
            pip_install("--constraint", constraints.name, *lacking)


def attached_accelerator():
    """Names what the machine has, whether or not JAX can start it."""
    if glob("/dev/accel*") or glob("/dev/vfio/[0-9]*") or "TPU_ACCELERATOR_TYPE" in os.environ:
        return "tpu"
    return "gpu" if glob("/dev/nvidia[0-9]*") else "cpu"


ON_COLAB = bool(importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"))
if ON_COLAB:
    install_jaxcv()

# Compiled programs are kept on disk: what was compiled once starts at once.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.abspath("runs/compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax

platform, device_count = jax.default_backend(), jax.device_count()
print(f"{device_count} x {jax.devices()[0].device_kind} ({platform}), jax {jax.__version__}")
if ON_COLAB and platform != attached_accelerator():
    print(
        f"WARNING: this runtime has a {attached_accelerator().upper()}, but JAX runs on {platform}:"
    )
    print(
        "everything below works, slowly. Try Runtime > Disconnect and delete runtime, then again,"
    )
    print("and install no other package over the runtime's own jax, jaxlib and libtpu.")

# %%
# %matplotlib inline
import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import display
from PIL import Image

from jaxcv import image as image_ops
from jaxcv.configs import digits_lenet
from jaxcv.data import Arrays, Batches, Folder, contact_sheet
from jaxcv.losses import softmax_cross_entropy
from jaxcv.models import MLP
from jaxcv.report import report_run
from jaxcv.tasks import Classification
from jaxcv.train import (
    Checkpoints,
    Cosine,
    DeviceMap,
    SetupError,
    create_state,
    evaluate_state,
    make_evaluator,
    make_train_step,
    open_run,
    open_workdir,
    predict_test,
    train,
)

RUNS = Path("runs")
FAST = bool(os.environ.get("JAXCV_FAST"))  # a small model and few steps: the test of this notebook

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#BBBBBB"
plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
    }
)

# %% [markdown]
# ## An experiment is an object
#
# A preset is a plain Python function that returns one frozen dataclass. It holds the things
# themselves: a data set, a Flax module, a task, an optimiser. There are no names to look up.

# %%
experiment = digits_lenet.experiment()
for field in dataclasses.fields(experiment):
    value = " ".join(str(getattr(experiment, field.name)).split())
    print(f"{field.name:18}{value}")

# %% [markdown]
# Another setting is another object. `dataclasses.replace` makes it, and refuses a field that does not
# exist. This run is shorter than the preset's and logs more often.

# %%
experiment = replace(
    experiment,
    epochs=4 if FAST else 15,
    optimizer=replace(experiment.optimizer, schedule=Cosine(warmup_steps=20)),
    ema_decay=0.95,
    log_every=20,
    eval_every=40,
)
if FAST:
    experiment = replace(experiment, model=MLP(num_classes=10, hidden=(64,)))

try:
    replace(experiment, optimizer=replace(experiment.optimizer, learning_rat=0.1))
except TypeError as error:
    print(error)

# %% [markdown]
# ## The data
#
# A data set opens as a *source*: `source[i]` is a record, a dict of arrays. Look before you train.

# %%
source = experiment.data.open("train")
record = source[0]
print(f"{len(source):,} records; image {record['image'].dtype} {record['image'].shape}")
display(contact_sheet(source, rows=3, columns=10))

# %% [markdown]
# An augmentation is a pure function `(key, image) -> image`. The same key gives the same image;
# `jax.vmap` over keys gives as many variants as you like. In training this happens inside the step,
# on the device.


# %%
def augmented(key, image):
    """Applies the experiment's transforms in order, to one image."""
    return image_ops.apply_sequence(experiment.augment, key, image)


originals = np.stack([source[i]["image"] for i in range(3)])
keys = jax.random.split(jax.random.key(0), (3, 9))
variants = jax.jit(jax.vmap(jax.vmap(augmented, (0, None))))(keys, originals)

figure, rows = plt.subplots(3, 10, figsize=(10, 3.3))
for axes, original, others in zip(rows, originals, np.asarray(variants)):
    for ax, picture in zip(axes, [original, *others]):
        ax.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255)
        ax.set_axis_off()
rows[0, 0].set_title("original", fontsize=9)
rows[0, 1].set_title("augmented", fontsize=9, loc="left")
figure.tight_layout(pad=0.3)

# %% [markdown]
# ## One training step, by hand
#
# `make_train_step` builds `train_step(state, batch) -> (state, metrics)`: augmentation, forward pass,
# loss, gradient, sum over the devices, update. It is written for one device's rows of the batch.
# `DeviceMap` maps it over all devices; `batches[0]` is the batch of step 0, a pure function of
# (seed, step). Here the step gets no augmentation, so that the next cell can check its numbers.

# %%
run = open_run(experiment)  # opens the data, and checks that data, model, task and machine fit
devices = DeviceMap()
batches = Batches(
    source, experiment.batch_size, shuffle=True, seed=experiment.seed, multiple_of=devices.count
)
state = create_state(experiment.model, run.optimizer, run.image_shape, seed=experiment.seed)
train_step = make_train_step(
    experiment.model, experiment.task, run.optimizer, preprocess=experiment.preprocess
)
train_step = devices.map(train_step, (None, 0))  # the state whole, the batch split by rows

batch = batches[0]
next_state, metrics = train_step(devices.replicate(state), devices.split(batch))

loss = float(metrics.loss_sum / metrics.weight_sum)
parameter_count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
print(f"{parameter_count:,} parameters, {devices.count} device(s)")
print(f"loss {loss:.4f}; a uniform guess over 10 classes costs ln 10 = {np.log(10):.4f}")
print(f"norm of the gradient {metrics.gradient_norm:.4f}")
print(f"step {state.step} -> {next_state.step}")

# %% [markdown]
# There is nothing else in it. The loss is the mean cross-entropy of the batch,
#
# $$L(\theta) = \frac{1}{B} \sum_{i=1}^{B} -\sum_c q_{ic} \log \mathrm{softmax}(f_\theta(x_i))_c$$
#
# with the label distributions $q_i$, and the gradient comes from `jax.value_and_grad`:

# %%
mask = jnp.asarray(batch["mask"])  # False in rows that only fill up the last batch
images = (batch["image"] / 255 - 0.5) / 0.5
labels = jnp.asarray(batch["label"])


def mean_loss(params):
    """The objective in two lines; and the logits, to look at."""
    logits = experiment.model.apply({"params": params}, images)
    smoothing = experiment.task.objective.label_smoothing
    losses = softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
    return jnp.sum(losses * mask) / jnp.sum(mask), logits


(loss_by_hand, logits), gradient = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))(
    state.params
)

# TPUs multiply in bfloat16 by default, hence two digits there.
np.testing.assert_allclose(loss, loss_by_hand, rtol=1e-2)
np.testing.assert_allclose(metrics.gradient_norm, optax.global_norm(gradient), rtol=1e-2)
print(f"by hand: loss {loss_by_hand:.4f}, norm of the gradient {optax.global_norm(gradient):.4f}")

# %% [markdown]
# Where that gradient begins: with respect to the logits $z$ of one example, softmax cross-entropy has
# the gradient
#
# $$\frac{\partial L}{\partial z} = \mathrm{softmax}(z) - y.$$
#
# Each wrong class is pushed down by the probability it was given, the right one is pulled up by what it
# lacks, and the pushes add up to zero.

# %%
one_hot = jax.nn.one_hot(labels, 10)

from_jax = jax.grad(lambda z: softmax_cross_entropy(z, labels).sum())(logits)
by_formula = jax.nn.softmax(logits) - one_hot
np.testing.assert_allclose(from_jax, by_formula, atol=1e-5)
np.testing.assert_allclose(from_jax.sum(-1), 0, atol=1e-5)

figure, axes = plt.subplots(
    1, 4, figsize=(10, 2.4), width_ratios=[1, 2, 1, 2], layout="constrained"
)
for i, (picture, bars) in enumerate(axes.reshape(2, 2)):
    picture.imshow(batch["image"][i, ..., 0], cmap="gray", vmin=0, vmax=255)
    picture.set_title(f"label {labels[i]}")
    picture.set_axis_off()
    colors = [ORANGE if c == labels[i] else BLUE for c in range(10)]
    bars.bar(range(10), from_jax[i], color=colors)
    bars.axhline(0, color="black", linewidth=0.8)
    bars.set(xticks=range(10), xlabel="class", title="gradient to the logits", ylim=(-1, 0.4))
plt.show()

# %% [markdown]
# ## Train
#
# `train` is that step in a loop, with logging, evaluation and checkpoints. Everything about a run lies
# in one work directory. Colab deletes it with the runtime; to keep it, mount Google Drive and put the
# directory there.

# %%
workdir = RUNS / ("digits_fast" if FAST else "digits")
results = train(experiment, workdir)

for split, summary in results.items():
    print(f"{split:10} accuracy {summary['accuracy']:.2%}  cross-entropy {summary['loss']:.4f}")
print(*sorted(path.name for path in workdir.iterdir()), sep="  ")

# %% [markdown]
# `test` are the weights as they are, `test_ema` their moving average. `metrics.jsonl` holds one row
# for each line of the log; TensorBoard shows the same numbers
# (`%load_ext tensorboard`, `%tensorboard --logdir runs`).


# %%
def curve(rows, split, name):
    """Steps and values of one logged number."""
    chosen = [row for row in rows if row["split"] == split and name in row]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


log_rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]

figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
for ax, name in zip(axes, ["loss", "accuracy"]):
    for split, color in {"train": GREY, "test": BLUE, "test_ema": ORANGE}.items():
        marker = None if split == "train" else "."
        ax.plot(*curve(log_rows, split, name), color=color, marker=marker, label=split)
    ax.set(title=name, xlabel="step")
axes[0].set_ylim(bottom=0)
axes[0].legend()
axes[1].yaxis.set_major_formatter("{x:.0%}")
axes[2].plot(*curve(log_rows, "train", "learning_rate"), color=GREEN)
axes[2].set(title="learning rate", xlabel="step", ylim=(0, None))
plt.show()

# %% [markdown]
# The training loss is higher than the test loss because it is another number: training has label
# smoothing (0.05) and augmentation, and each row of its log is a mean over steps gone by.
#
# ## Resume
#
# A finished run is not trained twice: the same call only evaluates. And a run that was cut short goes
# on, since the step alone decides which batch and which random keys come next. Here the newest
# checkpoint is thrown away, as if the runtime had vanished a moment before it was written; then the
# same call is made again. (*Runtime > Interrupt execution* during training saves and stops.)

# %%
checkpoints = Checkpoints(workdir / "checkpoints")
*_, previous, last = checkpoints.steps()
digests = checkpoints.manifest(last)["leaves"]  # SHA-256 of every array of the state
shutil.rmtree(checkpoints.path(last))

resumed_results = train(experiment, workdir)
same_bytes = checkpoints.manifest(last)["leaves"] == digests

print(f"went on from step {previous} to step {last}")
print("the same state, byte for byte:", same_bytes)  # a GPU may differ in the last digit
assert abs(resumed_results["test"]["accuracy"] - results["test"]["accuracy"]) < 0.02

# %% [markdown]
# ## Evaluate and predict
#
# A work directory is enough to rebuild the run. Evaluation counts every test record once, whatever the
# batch size and the number of devices.

# %%
run, state = open_workdir(workdir)
results = evaluate_state(make_evaluator(run), state)
summary = results["test_ema"]

shown = ("count", "accuracy", "loss", "macro_f1", "expected_calibration_error")
for name in shown:
    print(f"{name:28}{summary[name]:.4g}")

# %%
predictions = predict_test(run, state.ema)
truth, guess, confidence = (predictions[k] for k in ("label", "prediction", "confidence"))
np.testing.assert_allclose(np.mean(truth == guess), summary["accuracy"], atol=1e-6)

wrong = np.flatnonzero(truth != guess)
surest = wrong[np.argsort(-confidence[wrong])][:10]
print(f"{len(wrong)} of {len(truth)} are wrong; the most confident of them:")

figure, axes = plt.subplots(1, 10, figsize=(11, 1.9), layout="constrained")
for ax in axes:
    ax.set_axis_off()
for ax, i in zip(axes, surest):
    ax.imshow(run.test_source[int(i)]["image"][..., 0], cmap="gray", vmin=0, vmax=255)
    ax.set_title(f"{guess[i]} ({confidence[i]:.0%})\ntruly {truth[i]}", fontsize=9)
plt.show()

# %% [markdown]
# ## Report
#
# One HTML file that needs nothing beside it: curves, confusion matrix, per-class table, calibration,
# mistakes, settings, versions. On Colab open the file browser at the left and download it, or show it
# here with `IPython.display.HTML(report.read_text())`.

# %%
report = report_run(workdir, results=results)
print(f"{report}, {report.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Your own data
#
# **A folder with one folder of images per class.** Here such a folder is made from the digits; put
# your own path in its place. `size=(64, 64)` would bring photographs of any size to one.

# %%
folder = RUNS / "folders"
for i in range(60):
    digit = source[i]
    class_folder = folder / f"digit_{digit['label']}"
    class_folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(digit["image"][..., 0]).save(class_folder / f"{i}.png")

from_folder = Folder(root=str(folder), channels=1)
display(contact_sheet(from_folder.open("train"), rows=2, columns=10))

# %% [markdown]
# **Arrays in memory.** Images are uint8 in 0..255, labels are integers. The task here: is the digit
# even or odd? What does not fit together is said before anything is trained or written:

# %%
digits = [source[i] for i in range(len(source))]
parity = Arrays(
    images=np.stack([digit["image"] for digit in digits]),
    labels=np.array([digit["label"] % 2 for digit in digits]),
    class_names=("even", "odd"),
)
parity_experiment = replace(
    experiment, data=parity, epochs=2 if FAST else 20, log_every=100, eval_every=200
)

try:
    open_run(parity_experiment)
except SetupError as error:
    print(error)

# %%
parity_experiment = replace(
    parity_experiment,
    model=MLP(num_classes=2, hidden=(128,)),  # or any Flax module with the same call
    task=Classification(num_classes=2),
)
parity_results = train(parity_experiment, RUNS / ("parity_fast" if FAST else "parity"))
print(f"even or odd: accuracy {parity_results['test_ema']['accuracy']:.1%}")

# %% [markdown]
# ## From here
#
# - The same run from a shell: `python -m jaxcv train digits_lenet --workdir runs/digits`; every field is
#   an option, such as `--optimizer.learning-rate 0.1` or `--model.widths 32 64`.
# - Larger data: `TFDS(name="cifar10")`, and the presets in `jaxcv/configs`.
# - What the loss means, and what is often said wrongly about it: `cross_entropy.ipynb` in this folder.
