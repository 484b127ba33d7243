"""What no network is needed for on CamVid: the commonest class, and a forest on colour and position.

    python scripts/camvid_baselines.py

Judged on exactly the pixels that the preset `camvid_unet` is judged on (its data set, 233 test images at
160x120), by the same metrics. The forest is scikit-learn's on five numbers of a pixel: red, green, blue,
row and column; once with all pixels weighed alike, which is best for the accuracy, and once with all
classes, which could be better for the mean IoU. It learns from a sample of the training pixels.

Data: the TFDS set `camvid`, found as everywhere through $TFDS_DATA_DIR. Takes some two minutes on 2 cores.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.ensemble import RandomForestClassifier

from jaxcv.configs import camvid_unet
from jaxcv.data import Source
from jaxcv.metrics.segmentation import SegmentationMetrics, summary
from jaxcv.train import collect_environment

RESULTS = Path(__file__).parent / "results"
PIXELS_PER_IMAGE = 1000
TREES = 32
LEAF = 10  # fewest training pixels in a leaf
BATCH = 32  # images that are counted at a time
COLUMNS = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}

Weights = Literal["balanced"] | None


def load(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, 3] uint8 and label maps [N, H, W]."""
    records = [source[i] for i in range(len(source))]
    images, labels = (np.stack([record[key] for record in records]) for key in ("image", "label"))
    return images, labels


def features(images: np.ndarray) -> np.ndarray:
    """Colour and position of every pixel: [N, H, W, 3] -> [N * H * W, 5] float32 in [0, 1]."""
    N, H, W, _ = images.shape
    rows = np.broadcast_to((np.arange(H)[:, None] + 0.5) / H, (N, H, W))
    columns = np.broadcast_to((np.arange(W) + 0.5) / W, (N, H, W))
    stacked = np.concatenate([images / np.float32(255), rows[..., None], columns[..., None]], -1)
    return stacked.reshape(-1, 5).astype(np.float32)


def sample(
    images: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features [P, 5] and classes [P] of labelled pixels drawn from each image."""
    rng = np.random.default_rng(seed)
    x, y = [], []
    for image, label in zip(images, labels):
        valid = np.flatnonzero(label.ravel() < classes)
        chosen = rng.choice(valid, min(PIXELS_PER_IMAGE, len(valid)), replace=False)
        x.append(features(image[None])[chosen])
        y.append(label.ravel()[chosen])
    return np.concatenate(x), np.concatenate(y)


def majority(labels: np.ndarray, classes: int, shape: tuple[int, ...]) -> np.ndarray:
    """The commonest class of the training pixels, everywhere: [N, H, W]."""
    counts = np.bincount(labels.ravel(), minlength=256)[:classes]
    return np.full(shape, counts.argmax(), np.uint8)


def forest(x: np.ndarray, y: np.ndarray, images: np.ndarray, weights: Weights) -> np.ndarray:
    """What a forest that learned from pixels x [P, 5], y [P] says of images: [N, H, W]."""
    model = RandomForestClassifier(
        TREES, min_samples_leaf=LEAF, class_weight=weights, n_jobs=-1, random_state=0
    ).fit(x, y)
    parts = [
        model.predict(features(images[start : start + BATCH]))
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts).reshape(images.shape[:3])


def judged(predictions: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, Any]:
    """The summary that an evaluation of the preset gives, but for the loss."""

    @jax.jit
    def count(predictions: jax.Array, labels: jax.Array) -> SegmentationMetrics:
        return SegmentationMetrics.from_logits(jax.nn.one_hot(predictions, classes), labels)

    total: Any = None
    for start in range(0, len(labels), BATCH):
        rows = slice(start, start + BATCH)
        counts = count(jnp.asarray(predictions[rows]), jnp.asarray(labels[rows]))
        total = counts if total is None else jax.tree.map(jnp.add, total, counts)
    found = summary(total)
    # There is no probability, hence no loss.
    return {name: value for name, value in found.items() if name != "loss"}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown for README.md."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS)]
    for name, result in results.items():
        cells = (f"{100 * result[column]:.2f}%" for column in COLUMNS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result")
    options = parser.parse_args()
    data = camvid_unet.experiment().data
    classes = len(data.open("train").class_names)
    images, labels = load(data.open("train"))
    test_images, test_labels = load(data.open("test"))
    x, y = sample(images, labels, classes)
    methods = {
        "majority class": lambda: majority(labels, classes, test_labels.shape),
        "forest on colour and position": lambda: forest(x, y, test_images, None),
        "the same, classes weighed alike": lambda: forest(x, y, test_images, "balanced"),
    }
    results = {}
    for name, method in methods.items():
        started = time.perf_counter()
        found = judged(method(), test_labels, classes)
        results[name] = {**found, "seconds": round(time.perf_counter() - started, 1)}
    print(table(results))
    settings = {"pixels": len(y), "trees": TREES, "min_samples_leaf": LEAF}
    kept = {"results": results, "forest": settings, "environment": collect_environment()}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "camvid_baselines.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
