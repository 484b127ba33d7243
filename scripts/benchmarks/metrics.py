"""Metrics over millions of rows, beside plain PyTorch and NumPy, on one core.

    python scripts/benchmarks/metrics.py

Ours are the jitted functions that an evaluation runs on the device; the peers are written as one
would with the library: `torch.bincount` for a confusion matrix (torchmetrics does so too), `topk` for
top-5, `log_softmax` for the loss. Before the clock starts both are checked to give the same figures.
The contenders take turns, pinned to one core with one thread; a ratio is the median over the rounds
of ours to theirs within a round, in CPU seconds (below 1 is faster), with the least and the largest.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import torch

from jaxcv.metrics import ClassificationMetrics, SegmentationMetrics
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.confusion import confusion_matrices

Contender = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--logits", type=int, default=50_000_000, help="logits in a batch, B * C")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    figures = {}
    print(f"{'':46}{'ours':>10}{'theirs':>12}{'ratio':>8}{'of rounds':>14}")
    parts = [
        *(lambda classes=classes: confusion(options.rows, classes) for classes in (10, 100, 1000)),
        *(
            lambda classes=classes: classification(options.logits // classes, classes)
            for classes in (10, 100, 1000)
        ),
        lambda: calibration(options.rows),
        lambda: segmentation(4, 512, 21),
    ]
    for part in parts:
        name, ours, theirs = part()
        # A confidence at the very edge of a bin may fall to either side: a row or two of thousands.
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-4, atol=3, err_msg=name)
        figures[name] = compare(name, ours, theirs, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def compare(name: str, ours: Contender, theirs: Contender, rounds: int) -> dict[str, Any]:
    """Takes turns and prints a row."""
    seconds: dict[Contender, list[float]] = {ours: [], theirs: []}
    for turn in range(rounds):
        for contender in (ours, theirs) if turn % 2 else (theirs, ours):
            start = time.process_time()
            contender()
            seconds[contender].append(time.process_time() - start)
    ratios = sorted(own / other for own, other in zip(seconds[ours], seconds[theirs], strict=True))
    own, other = statistics.median(seconds[ours]), statistics.median(seconds[theirs])
    ratio = statistics.median(ratios)
    print(
        f"{name:46}{own:8.3f} s{other:10.3f} s{ratio:8.2f}{ratios[0]:8.2f}-{ratios[-1]:.2f}",
        flush=True,
    )
    return {"seconds": own, "their_seconds": other, "ratios": ratios}


def confusion(rows: int, classes: int) -> tuple[str, Contender, Contender]:
    """[C, C] counts of pairs of classes: exact integers on both sides."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, classes, (2, rows), dtype=np.int32)
    ours = jax.jit(lambda *pair: confusion_matrices(*pair, classes)[0])
    on_device = jax.device_put((labels[None], predictions[None]))
    pair = tuple(torch.from_numpy(x.astype(np.int64)) for x in (labels, predictions))

    def theirs() -> np.ndarray:
        cells = torch.bincount(pair[0] * classes + pair[1], minlength=classes**2)
        return cells.reshape(classes, classes).numpy()

    name = f"confusion matrix, {rows:,} rows, {classes} classes"
    return name, lambda: np.asarray(ours(*on_device)), theirs


def classification(rows: int, classes: int) -> tuple[str, Contender, Contender]:
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

    return f"classification, {rows:,} rows, {classes} classes", ours, theirs


def calibration(rows: int) -> tuple[str, Contender, Contender]:
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

    return f"calibration, {rows:,} rows (NumPy)", ours, theirs


def segmentation(images: int, side: int, classes: int) -> tuple[str, Contender, Contender]:
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

    return f"segmentation, {images} images of {side}x{side}, {classes} classes", ours, theirs


if __name__ == "__main__":
    main()
