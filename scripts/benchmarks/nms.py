"""Non-maximum suppression beside torchvision's definition: 8 images, 5,000 boxes, 80 classes, on the CPU.

    python scripts/benchmarks/nms.py

torchvision's own kernel is a loop that sorts by score and compares each box that is kept with all that
follow. It is written out here twice, so that nothing has to be installed: in NumPy, a row at a time,
and, where there is a C compiler (`cc`), in C, a box at a time as torchvision does. Both stop once they
have the `--detections` boxes that are asked for, which torchvision's does not; the sort is NumPy's.
Three tasks, each the same work for all contenders, with answers that are checked to be equal first:

    best of image   class-aware NMS of all boxes x classes, the best 100 of each image. The peers have
                    to do every class and merge; ours (`select_detections`) merges as it goes.
    every class     the best 100 of each class of each image: 640 times `nms`
    best of 1,000   as the first, among the 1,000 best candidates of each image alone, which is how
                    detectors are mostly run

The boxes lie around 40 places in each image, with corners on quarters of a pixel, so that areas are
exact and no two ways of rounding decide differently; scores are uniform, so that every candidate is
above the threshold. Everyone has one core (`--threads`; the peers use no more than one). The
contenders take turns, so that a busy machine slows all alike, and a ratio, below 1 where ours is
faster, is the median over the rounds of the ratio within a round. Compilation is not counted.
"""

import argparse
import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD = 0.5
CANDIDATES = 1000
Kernel = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(boxes [N, 4], scores [N], limit) -> indices of at most `limit` boxes kept, by falling score."""

LOOP = """
static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

long nms(const float *boxes, const long *order, long n, float threshold, long limit,
         float *areas, unsigned char *suppressed, long *keep) {
    long count = 0;
    for (long i = 0; i < n; i++) {
        const float *b = boxes + 4 * i;
        areas[i] = (b[2] - b[0]) * (b[3] - b[1]);
        suppressed[i] = 0;
    }
    for (long p = 0; p < n && count < limit; p++) {
        long i = order[p];
        if (suppressed[i]) continue;
        keep[count++] = i;
        const float *a = boxes + 4 * i;
        for (long q = p + 1; q < n; q++) {
            long j = order[q];
            if (suppressed[j]) continue;
            const float *b = boxes + 4 * j;
            float width = larger(0, smaller(a[2], b[2]) - larger(a[0], b[0]));
            float height = larger(0, smaller(a[3], b[3]) - larger(a[1], b[1]));
            float both = width * height;
            if (both / (areas[i] + areas[j] - both) > threshold) suppressed[j] = 1;
        }
    }
    return count;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--boxes", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="CPU cores, of which peers use one")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])

    boxes, scores = make_detector_output(options.images, options.boxes, options.classes)
    kernels: dict[str, Kernel] = {"NumPy": numpy_nms}
    if shutil.which("cc"):
        kernels["C"] = compile_loop()
    shape = f"{options.images} images, {options.boxes} boxes, {options.classes} classes"
    print(f"{shape}, {options.threads} threads; median times in ms")
    print(f"{'':14}{'ours':>10}" + "".join(f"{n:>11}{'ours/' + n:>12}" for n in kernels))
    for task, ours in make_ours(boxes, scores, options.detections).items():
        contenders: dict[str, Callable[[], Any]] = {"ours": ours}
        for name, kernel in kernels.items():
            contenders[name] = lambda task=task, kernel=kernel: run_peer(
                task, kernel, boxes, scores, options.detections
            )
        compare_answers(contenders)
        times = measure(contenders, options.rounds)
        line = f"{task:14}{1e3 * statistics.median(times['ours']):10.1f}"
        for name in kernels:
            ratio = statistics.median(a / b for a, b in zip(times["ours"], times[name]))
            line += f"{1e3 * statistics.median(times[name]):11.1f}{ratio:12.4f}"
        print(line, flush=True)


def make_detector_output(B: int, N: int, C: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [B, N, 4] around 40 places in each image, scores [B, N, C]."""
    random = np.random.default_rng(0)
    places, sides = random.uniform(0, 800, (B, 40, 2)), random.uniform(30, 200, (B, 40, 2))
    image, place = np.arange(B)[:, None], random.integers(0, 40, (B, N))
    center = places[image, place] + random.normal(0, 0.15, (B, N, 2)) * sides[image, place]
    half = sides[image, place] * np.exp(random.normal(0, 0.2, (B, N, 2))) / 2
    boxes = np.round(4 * np.concatenate([center - half, center + half], axis=-1)) / 4
    return boxes.astype(np.float32), 1 - random.random((B, N, C), dtype=np.float32)


def make_ours(
    boxes: np.ndarray, scores: np.ndarray, detections: int
) -> dict[str, Callable[[], Any]]:
    """Our answer to each task, compiled; a batch is `vmap`."""
    import jax

    from jaxcv.image import nms, select_detections

    @jax.jit
    @jax.vmap
    def best(boxes, scores):
        return select_detections(
            boxes,
            scores,
            iou_threshold=THRESHOLD,
            score_threshold=0.0,
            max_detections=detections,
        )

    @jax.jit
    @jax.vmap
    def best_of_some(boxes, scores):
        return select_detections(
            boxes,
            scores,
            iou_threshold=THRESHOLD,
            score_threshold=0.0,
            max_detections=detections,
            candidates=CANDIDATES,
        )

    @jax.jit
    @jax.vmap
    def every_class(boxes, scores):
        def one(row):
            return nms(boxes, row, iou_threshold=THRESHOLD, max_detections=detections)

        return jax.vmap(one, in_axes=1)(scores)

    on_device = jax.device_put((boxes, scores))
    tasks = {"best of image": best, "every class": every_class, "best of 1,000": best_of_some}
    return {
        task: lambda run=run: jax.device_get(jax.block_until_ready(run(*on_device)))
        for task, run in tasks.items()
    }


def run_peer(
    task: str, kernel: Kernel, boxes: np.ndarray, scores: np.ndarray, detections: int
) -> tuple[np.ndarray, ...]:
    """The answer of the peers, in the form of ours."""
    D = detections
    if task == "every class":
        index = np.zeros((len(boxes), scores.shape[2], D), np.int32)
        valid = np.zeros(index.shape, bool)
        for b, c in np.ndindex(*index.shape[:2]):
            kept = kernel(boxes[b], scores[b, :, c], D)
            index[b, c, : len(kept)], valid[b, c, : len(kept)] = kept, True
        return index, valid
    found_boxes = np.zeros((len(boxes), D, 4), np.float32)
    found_scores = np.zeros((len(boxes), D), np.float32)
    found_classes = np.full((len(boxes), D), -1, np.int32)
    for b in range(len(boxes)):
        index, classes = best_of_classes(task, kernel, boxes[b], scores[b], D)
        found_boxes[b, : len(index)] = boxes[b, index]
        found_scores[b, : len(index)] = scores[b, index, classes]
        found_classes[b, : len(index)] = classes
    return found_boxes, found_scores, found_classes


def best_of_classes(
    task: str, kernel: Kernel, boxes: np.ndarray, scores: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """One NMS per class, merged by score: indices and classes of one image."""
    N, C = scores.shape
    rows = [np.arange(N)] * C
    if task == "best of 1,000":
        flat, k = scores.reshape(-1), min(CANDIDATES, N * C)
        lowest = np.partition(flat, -k)[-k]
        above, equal = np.flatnonzero(flat > lowest), np.flatnonzero(flat == lowest)
        index, classes = np.divmod(np.sort(np.r_[above, equal[: k - len(above)]]), C)
        rows = [index[classes == c] for c in range(C)]
    kept = [row[kernel(boxes[row], scores[row, c], limit)] for c, row in enumerate(rows)]
    classes = np.repeat(np.arange(C), [len(one) for one in kept])
    index = np.concatenate(kept)
    order = np.lexsort((classes, index, -scores[index, classes]))[:limit]
    return index[order], classes[order]


def numpy_nms(boxes: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while order.size and len(kept) < limit:
        i, rest = order[0], order[1:]
        kept.append(i)
        width = np.minimum(x1[i], x1[rest]) - np.maximum(x0[i], x0[rest])
        height = np.minimum(y1[i], y1[rest]) - np.maximum(y0[i], y0[rest])
        both = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[both / (areas[i] + areas[rest] - both) <= np.float32(THRESHOLD)]
    return np.array(kept, np.int64)


def compile_loop() -> Kernel:
    """The C loop as a kernel."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "nms.c"), Path(folder, "nms.so")
        source.write_text(LOOP)
        flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, str(source), "-o", str(library)], check=True)
        loop = ctypes.CDLL(str(library)).nms
    loop.restype = ctypes.c_long
    pointer, number = ctypes.c_void_p, ctypes.c_long
    loop.argtypes = [pointer, pointer, number, ctypes.c_float, number, pointer, pointer, pointer]

    def kernel(boxes: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
        boxes = np.ascontiguousarray(boxes)
        order = np.argsort(-scores, kind="stable").astype(ctypes.c_long)
        areas, suppressed = np.empty(len(boxes), np.float32), np.empty(len(boxes), np.uint8)
        keep = np.empty(limit, ctypes.c_long)
        count = loop(
            boxes.ctypes.data,
            order.ctypes.data,
            len(boxes),
            THRESHOLD,
            limit,
            areas.ctypes.data,
            suppressed.ctypes.data,
            keep.ctypes.data,
        )
        return keep[:count]

    return kernel


def compare_answers(contenders: dict[str, Callable[[], Any]]) -> None:
    """Asserts that all find the same, bit by bit; compiles and warms up."""
    expected = contenders["ours"]()
    for name, run in contenders.items():
        for ours, theirs in zip(expected, run(), strict=True):
            np.testing.assert_array_equal(theirs, ours, err_msg=name)


def measure(contenders: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; they take turns, in changing order."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
