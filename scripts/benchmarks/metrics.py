"""Metrics over millions of rows, beside plain PyTorch and NumPy.

    python -m scripts.benchmarks metrics --threads 1 --clock cpu

Ours are the jitted functions that an evaluation runs on the device; the peers are written as one
would with the library: `torch.bincount` for a confusion matrix (torchmetrics does so too), `topk` for
top-5, `log_softmax` for the loss. Before the clock starts both are checked to give the same figures.
Verification has a benchmark of its own, `verification.py`.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import torch

from jaxcv.metrics import ClassificationMetrics, SegmentationMetrics
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.confusion import confusion_matrices
from scripts.benchmarks import contenders

ROWS = 10_000_000
LOGITS = 50_000_000  # in a batch, B * C
Contender = Callable[[], Any]


def run(options: argparse.Namespace) -> list[contenders.Row]:
    """Times every case that is asked for."""
    torch.set_num_threads(options.threads)
    rows = []
    for make, sizes, peer in cases():
        name = f"{make.__name__}, {' x '.join(f'{size:,}' for size in sizes)}"
        if not contenders.wanted(name, options):
            continue
        ours, theirs = make(*sizes)
        # A confidence at the very edge of a bin may fall to either side: a few rows of thousands.
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-4, atol=3, err_msg=name)
        both = {contenders.OURS: ours, peer: theirs}
        rows.append(contenders.compare("metrics", name, both, options))
        contenders.show(rows[-1])
    return rows


def cases() -> Iterator[tuple[Callable[..., tuple[Contender, Contender]], tuple[int, ...], str]]:
    """A function that makes the contenders, its arguments, and the peer's name."""
    for classes in (10, 100, 1000):
        yield confusion, (ROWS, classes), "torch"
    for classes in (10, 100, 1000):
        yield classification, (LOGITS // classes, classes), "torch"
    yield calibration, (ROWS,), "numpy"
    yield segmentation, (4, 512, 21), "torch"


def confusion(rows: int, classes: int) -> tuple[Contender, Contender]:
    """[C, C] counts of pairs of classes: exact integers on both sides."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, classes, (2, rows), dtype=np.int32)
    ours = jax.jit(lambda *pair: confusion_matrices(*pair, classes)[0])
    on_device = jax.device_put((labels[None], predictions[None]))
    pair = tuple(torch.from_numpy(x.astype(np.int64)) for x in (labels, predictions))

    def theirs() -> np.ndarray:
        cells = torch.bincount(pair[0] * classes + pair[1], minlength=classes**2)
        return cells.reshape(classes, classes).numpy()

    return lambda: np.asarray(ours(*on_device)), theirs


def classification(rows: int, classes: int) -> tuple[Contender, Contender]:
    """All of `ClassificationMetrics`: loss, accuracy, top 5, Brier, classes, calibration."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((rows, classes), dtype=np.float32)
    labels = rng.integers(0, classes, rows, dtype=np.int32)
    count = jax.jit(ClassificationMetrics.from_logits)
    on_device = jax.device_put((logits, labels))
    z, y = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.int64))

    def ours() -> list[float]:
        found = jax.device_get(count(*on_device))
        sums = [found.loss_sum, found.brier_sum, found.correct, found.top_k_correct]
        return [*map(float, sums), *map(float, found.support), *map(float, found.calibration.count)]

    def theirs() -> list[float]:
        own = y[:, None]
        log_probabilities = z.log_softmax(-1)
        probabilities = log_probabilities.exp()
        own_probability = probabilities.gather(1, own)[:, 0]
        brier = probabilities.square().sum(-1) - 2 * own_probability + 1
        confidence, prediction = probabilities.max(-1)
        top = (z.topk(5, -1).indices == own).any(-1)
        torch.bincount(y * classes + prediction, minlength=classes**2)
        bins = torch.bincount((confidence * 15).ceil().long().clamp(1, 15) - 1, minlength=15)
        loss = -log_probabilities.gather(1, own).sum(dtype=torch.float64)
        sums = [loss, brier.sum(dtype=torch.float64), (prediction == y).sum(), top.sum()]
        return [*map(float, (*sums, *torch.bincount(y, minlength=classes), *bins))]

    return ours, theirs


def calibration(rows: int) -> tuple[Contender, Contender]:
    """15 bins of confidence."""
    rng = np.random.default_rng(0)
    confidence = rng.random(rows, dtype=np.float32)
    correct = rng.random(rows) < confidence
    count = jax.jit(CalibrationBins.from_confidences)
    on_device = jax.device_put((confidence, correct, np.ones(rows, bool)))

    def ours() -> list[int]:
        found = jax.device_get(count(*on_device))
        return [*found.count.tolist(), *found.correct.tolist()]

    def theirs() -> list[int]:
        index = np.clip(np.ceil(confidence * 15).astype(np.int64) - 1, 0, 14)
        counts = np.bincount(index, minlength=15)
        np.bincount(index, confidence, minlength=15)
        return [*counts.tolist(), *np.bincount(index, correct, minlength=15).astype(int).tolist()]

    return ours, theirs


def segmentation(images: int, side: int, classes: int) -> tuple[Contender, Contender]:
    """Confusion of pixels, loss and mean IoU within each image."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((images, side, side, classes), dtype=np.float32)
    labels = rng.integers(0, classes, (images, side, side), dtype=np.int32)
    count = jax.jit(SegmentationMetrics.from_logits)
    on_device = jax.device_put((logits, labels))
    z, y = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.int64))

    def ours() -> np.ndarray:
        found = jax.device_get(count(*on_device))
        return np.append(found.confusion.ravel(), found.loss_sum)

    def theirs() -> np.ndarray:
        loss = -z.log_softmax(-1).gather(-1, y[..., None]).sum(dtype=torch.float64)
        cells = torch.bincount((y * classes + z.argmax(-1)).ravel(), minlength=classes**2)
        return np.append(cells.numpy(), float(loss))

    return ours, theirs
