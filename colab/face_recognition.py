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
# # Recognise faces
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcv/jaxcv/blob/main/colab/face_recognition.ipynb)
#
# From a folder of people to a network that tells whether two photos show the same person, and finds a
# person among many: data, training, ROC, threshold, gallery. And at the end, what the numbers it
# computes give away about somebody. On a TPU, a GPU or a CPU: the same cells. Nothing is downloaded but
# jaxcv itself.
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
from dataclasses import replace
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image
from sklearn.linear_model import Ridge

from jaxcv.configs import faces_orl
from jaxcv.data import TFDS, contact_sheet, prepared
from jaxcv.data.faces import DisjointIdentities, People
from jaxcv.faces.gallery.contract import GalleryError
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.pair_figure import pair_figure
from jaxcv.metrics import (
    area_under_roc,
    equal_error_rate,
    hardest_pairs,
    pair_scores,
    roc,
    true_accept_rate_at,
)
from jaxcv.models import EmbeddingClassifier, FaceEmbedder
from jaxcv.report import report_run
from jaxcv.tasks.faces.embedding import embed_source, embedder_digest
from jaxcv.train import open_workdir, train

RUNS = Path("runs")
FAST = bool(os.environ.get("JAXCV_FAST"))  # a small model and few steps: the test of this notebook

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
    }
)

# %% [markdown]
# ## People
#
# Photos of people lie in a folder with one folder for each person. The people here are drawn: nobody
# has to be asked. A person is a set of proportions and shades; a photo of the person is that drawing
# from another side, under other light, with another mouth.


# %%
def ellipse(y, x, center_y, center_x, height, width):
    """Where an ellipse covers the picture: 1 inside, 0 outside, soft at the edge."""
    distance = np.hypot((y - center_y) / height, (x - center_x) / width)
    return np.clip((1 - distance) * 8 + 0.5, 0, 1)


def draw(person, photo):
    """One photo, uint8 [64, 56]: `person` holds what stays, `photo` draws what changes."""
    turn, nod, smile, light = photo.normal(0, (0.05, 0.04, 0.5, 0.25))
    y, x = np.mgrid[-1:1:64j, -1:1:56j]
    y, x = y - nod, x - turn - 0.08 * photo.normal() * y
    picture = np.full(y.shape, photo.uniform(0.15, 0.45))

    def paint(part, shade):
        nonlocal picture
        picture = picture * (1 - part) + shade * part

    p = person
    paint(ellipse(y, x, -0.15, 0, p["hair_height"], p["face_width"] + p["hair_width"]), p["hair"])
    paint(ellipse(y, x, 0.08, 0, 0.78, p["face_width"]), p["skin"])
    paint(ellipse(y, x, p["hair_line"] - 0.75, 0, 0.3, p["face_width"] * 0.95), p["hair"])
    for side in (-1, 1):
        eye = side * p["eye_distance"] + 0.6 * turn
        paint(ellipse(y, x, p["eyes"], eye, p["eye_height"], 0.15), 0.95)
        paint(ellipse(y, x, p["eyes"], eye + turn, p["eye_height"], p["eye_height"]), p["iris"])
        paint(ellipse(y, x, p["eyes"] - p["brow"], eye, p["brow_height"], 0.19), p["hair"])
    paint(ellipse(y, x, p["nose"] - 0.05, turn, 0.2, p["nose_width"]), p["skin"] * 0.8)
    curve = p["mouth"] - 0.3 * smile * x**2
    paint(ellipse(y, x, curve, 0.5 * turn, p["lip_height"], p["mouth_width"]), p["lip"])
    paint(ellipse(y, x, 0.75, 0.3 * turn, p["beard"], p["face_width"] * 0.6), p["hair"])
    picture = picture * (1 + light * x) + photo.normal(0, 0.03, y.shape)
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)


RANGES = {
    "face_width": (0.55, 0.75), "hair_height": (0.7, 0.95), "hair_width": (0.0, 0.25),
    "hair": (0.02, 0.7), "skin": (0.35, 0.9), "hair_line": (-0.15, 0.3),
    "eyes": (-0.2, 0.0), "eye_distance": (0.22, 0.36), "eye_height": (0.05, 0.1), "iris": (0, 0.5),
    "brow": (0.13, 0.22), "brow_height": (0.02, 0.07), "nose": (0.15, 0.3),
    "nose_width": (0.05, 0.13), "mouth": (0.42, 0.58), "mouth_width": (0.15, 0.35),
    "lip_height": (0.04, 0.1), "lip": (0.15, 0.5), "beard": (0.001, 0.25),
}  # fmt: skip


def draw_people(root, people, photos=10):
    """Writes root/person_00/0.png and so on."""
    for number in range(people):
        key = np.random.default_rng((number, 0))
        person = {name: key.uniform(*bounds) for name, bounds in RANGES.items()}
        folder = root / f"person_{number:02}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(photos):
            photo = np.random.default_rng((number, 1 + i))
            Image.fromarray(draw(person, photo)).save(folder / f"{i}.png")
    return root


# %% [markdown]
# **Choose here.** Where the ORL faces are prepared as a TFDS data set (`$TFDS_DATA_DIR`), the photos
# are of 40 true people instead. For your own photos put the path of their folder: cut to the face and
# aligned all alike, as `jaxcv.faces.alignment.aligned_face` does it.

# %%
if "orl_faces" in prepared() and not FAST:
    people = TFDS(name="orl_faces", size=(32, 28), fit="stretch")
else:
    folder = draw_people(RUNS / "people", people=24 if FAST else 80)
    people = People(root=str(folder), size=(32, 28), fit="stretch", channels=1)

data = DisjointIdentities(data=people, test_identities=0.25)
train_source, test_source = data.open("train"), data.open("test")
names = test_source.class_names
for word, source in (("train", train_source), ("test", test_source)):
    print(f"{word:6}{len(source):4} photos of {len(source.class_names)} people")
display(contact_sheet(test_source, rows=3, columns=10))

# %% [markdown]
# `DisjointIdentities` puts each *person* on one side. A face model is judged on people whom it has
# never seen, since nobody trains a network anew for each guest. A network that has seen them would
# look better than it is.
#
# ## Train
#
# The preset `faces_orl` is one object. The network maps a photo to an *embedding*, a unit vector
# $e \in \mathbb{R}^{D}$. In training there is also a unit vector $w_c$ for each person, and the loss
# (CosFace) is the cross-entropy of the cosines, from whose right one a margin $m$ is taken off:
#
# $$L = -\log \frac{e^{s (w_y \cdot e - m)}}{e^{s (w_y \cdot e - m)} + \sum_{c \ne y} e^{s\, w_c \cdot e}}$$
#
# So a photo has to be nearer to its own person than to anybody else *by* $m$. The $w_c$ are thrown away
# afterwards.

# %%
known = len(train_source.class_names)
experiment = faces_orl.experiment()
experiment = replace(
    experiment,
    data=data,
    task=replace(experiment.task, num_classes=known),
    model=experiment.model.clone(num_classes=known),
)
if FAST:
    experiment = replace(
        experiment,
        model=EmbeddingClassifier(
            backbone=FaceEmbedder(embedding_size=32, widths=(8, 16)),
            num_classes=known,
            embedding_size=32,
        ),
        steps=60,
        eval_every=60,
        log_every=30,
    )

workdir = RUNS / ("faces_fast" if FAST else "faces")
results = train(experiment, workdir)
summary = results["test"]
for name, value in summary.items():
    print(f"{name:32}{value:.4g}")

# %% [markdown]
# ## Verification: the same person?
#
# The score of two photos is the cosine of their embeddings. All pairs of test photos are scored:
# *genuine* pairs show one person, *impostor* pairs two. Beside them the same with raw pixels in place
# of embeddings, to see what the network is for.

# %%
run, state = open_workdir(workdir)
embeddings = embed_source(run, state.variables, test_source)
labels = np.array([test_source[i]["label"] for i in range(len(test_source))])
pairs = pair_scores(embeddings, labels)
curve = roc(pairs.scores, pairs.same)

pixels = np.stack([test_source[i]["image"] for i in range(len(test_source))])
pixels = pixels.reshape(len(pixels), -1) / 255.0
of_pixels = pair_scores(pixels - pixels.mean(1, keepdims=True), labels)
pixel_curve = roc(of_pixels.scores, of_pixels.same)

for word, found in (("embeddings", curve), ("pixels", pixel_curve)):
    print(f"{word:11} equal error rate {equal_error_rate(found):6.2%}", end="")
    print(f"   area under the ROC {area_under_roc(found):.4f}")
np.testing.assert_allclose(equal_error_rate(curve), summary["equal_error_rate"], atol=0.01)

# %% [markdown]
# Where to draw the line is not the network's to say. A *threshold* is chosen by the errors one can bear:
# here at most 1% of the impostor pairs may pass (the *false accept rate*). The *true accept rate* is
# what is left of the genuine pairs then. It is never rounded in one's own favour.

# %%
point = true_accept_rate_at(curve, 0.01)
print(f"threshold {point.threshold:.3f}: {point.false_accept_rate:.2%} of impostors pass,")
print(f"and {point.true_accept_rate:.2%} of genuine pairs")

figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
bins = np.linspace(-1, 1, 60)
for same, color, word in ((True, BLUE, "genuine"), (False, ORANGE, "impostors")):
    chosen = pairs.scores[pairs.same == same]
    axes[0].hist(chosen, bins, density=True, color=color, alpha=0.7, label=word)
axes[0].axvline(point.threshold, color="black", linewidth=1)
axes[0].set(title="scores", xlabel="cosine", yticks=[])
axes[0].legend()
for found, color, word in ((curve, BLUE, "embeddings"), (pixel_curve, GREY, "pixels")):
    axes[1].step(
        found.false_accept_rate, found.true_accept_rate, where="post", color=color, label=word
    )
    # A rate below one impostor pair cannot be seen in these data.
    seen = found.false_accepts >= 1
    axes[2].loglog(
        found.false_accept_rate[seen],
        np.maximum(found.false_reject_rate[seen], 0.5 / found.genuine),
        color=color,
    )
axes[1].plot(point.false_accept_rate, point.true_accept_rate, "o", color="black")
axes[1].set(title="ROC", xlabel="false accept rate", ylabel="true accept rate")
axes[1].legend()
axes[2].set(title="DET", xlabel="false accept rate", ylabel="false reject rate")
plt.show()

# %% [markdown]
# Two photos, as `python -m jaxcv verify` shows them. This is the genuine pair with the lowest score, and
# the impostor pair with the highest.


# %%
def show_pair(number):
    """Draws one pair of test photos with its score."""
    first, second = int(pairs.first[number]), int(pairs.second[number])
    faces = (test_source[first]["image"], test_source[second]["image"])
    called = (names[labels[first]], names[labels[second]])
    score = float(pairs.scores[number])
    return pair_figure(faces, called, score=score, threshold=point.threshold)


hardest_impostor, hardest_genuine = (int(found[0]) for found in hardest_pairs(pairs, 1))
display(show_pair(hardest_genuine))
display(show_pair(hardest_impostor))

# %% [markdown]
# ## A gallery: who is it?
#
# A gallery keeps the embeddings of people who are *enrolled*, in a directory. Half of each test
# person's photos are enrolled; the other half are the questions. The last person stays outside.

# %%
photo_number = np.array([np.sum(labels[:i] == labels[i]) for i in range(len(labels))])
outsider = len(names) - 1
enrolled = (photo_number < 5) & (labels != outsider)

gallery = DeviceGallery(
    RUNS / "gallery",
    embedding_size=embeddings.shape[1],
    model_digest=embedder_digest(run, state.variables),
)
for name in gallery.subjects():  # of an earlier run of this cell
    gallery.remove(name)
gallery.enroll_many([names[i] for i in labels[enrolled]], embeddings[enrolled])
print(gallery)

questions = np.flatnonzero(~enrolled & (photo_number >= 5))
matches = gallery.search(embeddings[questions], k=3)
for question, found in list(zip(questions, matches))[:4]:
    listed = ", ".join(f"{match.subject} {match.score:.2f}" for match in found)
    print(f"{names[labels[question]]}: {listed}")

# %%
first_is_right = np.array(
    [names[labels[q]] == found[0].subject for q, found in zip(questions, matches)]
)
accepted = np.array([found[0].score >= point.threshold for found in matches])
inside = labels[questions] != outsider
rank_1 = first_is_right[inside].mean()
print(f"of those enrolled, {rank_1:.1%} are first in the list,")
print(f"{(first_is_right & accepted)[inside].mean():.1%} first and above the threshold")
print(
    f"of the outsider's {np.sum(~inside)} photos, {accepted[~inside].sum()} are taken for somebody"
)

# %% [markdown]
# Mind the outsider. A threshold with a false accept rate of 1% *for one pair* meets everybody enrolled:
# among $n$ people up to $1 - 0.99^n$ of the strangers are taken for somebody, with 100 people 63%. The
# larger the gallery, the stricter the threshold has to be.
#
# **Forgetting somebody.** `remove` deletes what the gallery holds of a person, from disk too. And a
# gallery refuses embeddings of any other network, since they cannot be compared:

# %%
gone = names[0]
removed = gallery.remove(gone)
files = [path.read_bytes() for path in (RUNS / "gallery").iterdir()]
traces = sum(gone.encode() in data for data in files)
print(f"removed {removed} photos of {gone}; {traces} of {len(files)} files still name {gone}")

try:
    other = {**state.variables, "params": jax.tree.map(lambda x: x * 1.01, state.params)}
    DeviceGallery(
        RUNS / "gallery",
        embedding_size=embeddings.shape[1],
        model_digest=embedder_digest(run, other),
    )
except GalleryError as error:
    refused = str(error)
    print(refused.split(":")[0])

# %% [markdown]
# ## What an embedding gives away
#
# An embedding is often called a mere number, from which no face could be had back. Here is a test of
# that. A linear map from embeddings to pixels is fitted on the *training* people; then it draws the
# test people, whom it has never seen, from their embeddings alone.

# %%
train_embeddings = embed_source(run, state.variables, train_source)
train_pixels = np.stack([train_source[i]["image"] for i in range(len(train_source))])
train_pixels = train_pixels.reshape(len(train_pixels), -1) / 255.0
inverse = Ridge(alpha=0.1).fit(train_embeddings, train_pixels)
drawn = inverse.predict(embeddings)


def correlations(first, second):
    """Between the rows of two arrays, [N, N]."""
    first, second = (
        (a - a.mean(1, keepdims=True)) / a.std(1, keepdims=True) for a in (first, second)
    )
    return first @ second.T / first.shape[1]


# Less the average face, which all have in common.
average = train_pixels.mean(0)
alike = correlations(drawn - average, pixels - average)
own, others = alike[np.diag_indices(len(alike))], alike[labels[:, None] != labels[None]]
print(
    f"correlation of a drawing with its photo {own.mean():.2f}, with other people's {others.mean():.2f}"
)

chosen = [int(np.flatnonzero(labels == person)[0]) for person in range(min(8, len(names)))]
figure, rows = plt.subplots(2, len(chosen), figsize=(1.3 * len(chosen), 3.2), layout="constrained")
for axes, pictures, word in zip(rows, (pixels, drawn), ("photo", "from the embedding")):
    for ax, i in zip(axes, chosen):
        ax.imshow(pictures[i].reshape(32, 28), cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
    axes[0].set_title(word, fontsize=9, loc="left")
plt.show()

# %% [markdown]
# So treat embeddings as you would treat the photos:
#
# - They identify. Two galleries made by one network can be joined, and whoever is in both is found.
# - They cannot be changed like a password.
# - The law of many countries says so too. In the EU, biometric data used to identify somebody are a
#   special category (GDPR, Article 9): processing them is forbidden but for exceptions, of which the
#   person's explicit consent is one; and who withdraws it is to be deleted. Illinois (BIPA) asks for a
#   written release first. Ask a lawyer before you enrol anybody, and ask everybody whom you enrol.
# - Encrypt the gallery: with a key of `jaxcv.faces.gallery.encryption.new_key` in the environment variable
#   `JAXCV_GALLERY_KEY`, all that is written is AES-256-GCM. The key belongs in another place than
#   the gallery and its backups.
# - And test on people like those it is for: a network trained on few kinds of people errs more often
#   on others. The report lists the errors for each person.

# %%
report = report_run(workdir, results=results)
print(
    f"{report}, {report.stat().st_size / 1e6:.1f} MB: curves, hardest pairs, errors of each person"
)

# %% [markdown]
# ## From here
#
# The same from a shell, with photos straight from a camera; faces are found and aligned first
# (`pip install "jaxcv[faces]"`):
#
#     python -m jaxcv train faces_orl --workdir runs/orl
#     python -m jaxcv verify runs/orl a.jpg b.jpg
#     python -m jaxcv enroll runs/gallery people --workdir runs/orl
#     python -m jaxcv search runs/gallery guest.jpg --workdir runs/orl
#     python -m jaxcv remove runs/gallery person_03
#
# - A network for use is trained on millions of photos: the presets `faces_ms1mv3_r50` and
#   `faces_glint360k_r100`.
# - Other margins are other objects: `jaxcv.losses.ArcFace`, `AdaFace`, `MagFace` and more in
#   `experiment.task.margin`; triplets by `jaxcv.tasks.MetricLearning`.
