"""Gallery search beside faiss's flat index: 100 queries in 100,000 embeddings of size 512, on the CPU.

    pip install "jaxcv[faiss]"
    python scripts/benchmarks/gallery.py

Ours is the whole of `DeviceGallery.search`: the queries scaled, the nearest rows found, their scores
computed again in float64, the best entry of each subject chosen. faiss is `IndexFlatIP.search` alone,
twice: as installed, and with the threshold lowered from which it multiplies matrices with BLAS (in
1.15.1 its default leaves 100 queries to another loop). The contenders take turns on the same cores, so
that a busy machine slows all alike. The ratios, below 1 where ours is faster, are the median over the
rounds of the ratio within a round, and the ratio of the fastest rounds. Before the clock runs, all have
to give the same answer.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

SAME = 1e-6
"""Scores that differ by less may change places: float32 sums of 512 products differ by that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2, help="CPU cores for each contender")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    import faiss

    from jaxcv.faces.gallery.device_gallery import DeviceGallery

    faiss.omp_set_num_threads(options.threads)
    random = np.random.default_rng(0)
    rows, queries = (
        random.standard_normal((count, options.size), dtype=np.float32)
        for count in (options.entries, options.queries)
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(options.size)
    index.add(rows)
    gallery = DeviceGallery(embedding_size=options.size, model_digest="random")
    gallery.enroll_many([str(i) for i in range(len(rows))], rows)
    threshold = faiss.cvar.distance_compute_blas_threshold

    def ours(k: int) -> tuple[np.ndarray, np.ndarray]:
        found = gallery.search(queries, k)
        scores = np.array([[match.score for match in row] for row in found])
        return scores, np.array([[match.entry for match in row] for row in found])

    def peer(k: int, blas_from: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.cvar.distance_compute_blas_threshold = blas_from
        return index.search(queries, k)

    shape = f"{options.queries} queries, {options.entries} x {options.size} float32"
    print(f"{shape}, {options.threads} threads, faiss {faiss.__version__}; times in ms")
    print("   k               ours     faiss  faiss, BLAS  ours/faiss  ours/faiss, BLAS")
    for k in (1, 10):
        contenders = {
            "ours": lambda k=k: ours(k),
            "faiss": lambda k=k: peer(k, threshold),
            "faiss, BLAS": lambda k=k: peer(k, 0),
        }
        compare_answers(contenders)
        times = measure(contenders, options.rounds)
        peers = ("faiss", "faiss, BLAS")
        medians = [statistics.median(times[name]) for name in contenders]
        ratios = [
            statistics.median(a / b for a, b in zip(times["ours"], times[name])) for name in peers
        ]
        print_line(k, "median", medians, ratios)
        fastest = [min(times[name]) for name in contenders]
        print_line(k, "fastest", fastest, [fastest[0] / other for other in fastest[1:]])


def print_line(k: int, what: str, seconds: list[float], ratios: list[float]) -> None:
    times = "{:9.1f} {:9.1f} {:12.1f}".format(*(1e3 * value for value in seconds))
    print(f"{k:4}  {what:8} {times} {ratios[0]:11.2f} {ratios[1]:17.2f}", flush=True)


def compare_answers(
    contenders: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Asserts that all find the same entries with the same scores; compiles and warms up."""
    scores, entries = contenders["ours"]()
    for name, run in contenders.items():
        other_scores, other_entries = run()
        np.testing.assert_allclose(other_scores, scores, rtol=0, atol=SAME, err_msg=name)
        for place in np.argwhere(other_entries != entries):
            # Allowed only within a run of scores that nothing tells apart.
            near = np.abs(scores[place[0]] - scores[tuple(place)]) < 2 * SAME
            assert near.sum() > 1 or place[1] == scores.shape[1] - 1, (name, place)


def measure(contenders: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; they take turns, in changing order."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            time.sleep(0.05)  # the threads of the one before have gone to sleep
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
