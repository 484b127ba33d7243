"""COCO's evaluation beside pycocotools: 5,000 images, 80 classes, 100 detections an image, on the CPU.

    pip install "jaxcv[test]"
    python scripts/benchmarks/coco_evaluation.py

Ours is `jaxcv.metrics.coco_evaluation`, arrays in, twelve figures out. pycocotools starts from the same
arrays: the annotations in COCO's format that it asks for are made in its time, too, since no task has
them lying about; its time alone is shown beside. Both run on one core and take turns, so that a busy
machine slows both alike. The ratio, below 1 where ours is faster, is the median over the rounds of the
ratio within a round, and the ratio of the fastest rounds. Before the clock runs, both have to give the
same twelve figures.
"""

import argparse
import contextlib
import io
import statistics
import time

import numpy as np

from jaxcv.metrics.coco import (
    DETECTION_LIMITS,
    coco_evaluation,
    detected_annotations,
    true_annotations,
)
from jaxcv.metrics.detection_examples import checked_examples

_SIDE = 640
_LARGEST_CROWD = 64  # rows for objects of an image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--objects", type=float, default=7.3, help="mean of an image")
    parser.add_argument("--detections", type=int, default=100, help="of each image")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    examples = draw_examples(options.images, options.classes, options.objects, options.detections)
    classes = options.classes
    count = int((examples["classes"] >= 0).sum())
    print(
        f"{options.images:,} images, {classes} classes, {count:,} objects, "
        f"{options.images * options.detections:,} detections; times in s"
    )
    figures = list(coco_evaluation(examples, classes).figures().values())
    np.testing.assert_allclose(figures, run_pycocotools(examples, classes)[0], rtol=0, atol=1e-12)
    print("the same figures: " + " ".join(f"{value:.3f}" for value in figures))

    # Of pycocotools all that it takes, and that without making the annotations.
    times: dict[str, list[float]] = {"ours": [], "pycocotools": [], "alone": []}
    for turn in range(options.rounds):
        for name in sorted(("ours", "pycocotools"), reverse=bool(turn % 2)):
            start = time.perf_counter()
            if name == "ours":
                coco_evaluation(examples, classes).figures()
            else:
                _, alone = run_pycocotools(examples, classes)
                times["alone"].append(alone)
            times[name].append(time.perf_counter() - start)

    print("              ours  pycocotools     alone  ours/pycocotools  ours/alone")
    ours = times["ours"]
    peers = (times["pycocotools"], times["alone"])
    medians = [statistics.median(a / b for a, b in zip(ours, peer)) for peer in peers]
    print_line("median", [statistics.median(each) for each in times.values()], medians)
    print_line(
        "fastest", [min(each) for each in times.values()], [min(ours) / min(p) for p in peers]
    )


def print_line(what: str, seconds: list[float], ratios: list[float]) -> None:
    shown = "{:9.2f} {:12.2f} {:9.2f}".format(*seconds)
    print(f"{what:9}{shown} {ratios[0]:17.3f} {ratios[1]:11.3f}", flush=True)


def draw_examples(
    images: int, classes: int, objects: float, detections: int
) -> dict[str, np.ndarray]:
    """Objects of COCO's number and sizes; half of the detections lie about one, often of its class.

    As with real models an image's detections are of few classes, most of them with low scores.
    """
    random = np.random.default_rng(0)
    N, D, M = images, detections, _LARGEST_CROWD
    count = np.clip(random.geometric(1 / objects, N), 1, M)
    present = np.arange(M) < count[:, None]
    size = np.exp(random.uniform(np.log(8), np.log(400), (N, M, 2)))
    corner = random.uniform(0, 1, (N, M, 2)) * np.maximum(_SIDE - size, 1)
    boxes = np.concatenate((corner, corner + size), -1)
    kinds = random.integers(0, classes, (N, 12))  # of which an image has some
    labels = np.take_along_axis(kinds, random.integers(0, 4, (N, M)), 1)

    source = random.integers(0, count[:, None], (N, D))
    near = random.random((N, D)) < 0.5
    own = np.take_along_axis(boxes, source[..., None], 1)
    scale = np.tile(own[..., 2:] - own[..., :2], 2)
    moved = own + scale * random.normal(0, 0.1, (N, D, 4))
    other = np.roll(own, 1, axis=0)  # where the objects of another image are
    guess = np.take_along_axis(kinds, random.integers(0, 12, (N, D)), 1)
    same = near & (random.random((N, D)) < 0.8)
    return {
        "boxes": np.where(present[..., None], boxes, 0).astype(np.float32),
        "classes": np.where(present, labels, -1),
        "ignored": present & (random.random((N, M)) < 0.01),
        "area": np.where(present, 0.6 * size.prod(-1), 0).astype(np.float32),
        "detected_boxes": np.where(near[..., None], moved, other).astype(np.float32),
        "detected_scores": random.random((N, D)) ** np.where(same, 1, 4),
        "detected_classes": np.where(same, np.take_along_axis(labels, source, 1), guess),
    }


def run_pycocotools(examples: dict[str, np.ndarray], num_classes: int) -> tuple[np.ndarray, float]:
    """The twelve figures, and the seconds without those that making the annotations took."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    checked = checked_examples(examples, num_classes)
    annotations = (true_annotations(checked), detected_annotations(checked))
    start = time.perf_counter()
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for each in annotations:
            side = COCO()
            side.dataset = {
                "images": [{"id": i} for i in range(len(checked))],
                "categories": [{"id": c} for c in range(num_classes)],
                "annotations": each,
            }
            side.createIndex()
            sides.append(side)
        evaluator = COCOeval(*sides, iouType="bbox")
        evaluator.params.maxDets = list(DETECTION_LIMITS)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats, time.perf_counter() - start


if __name__ == "__main__":
    main()
