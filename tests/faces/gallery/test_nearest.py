import numpy as np
import pytest

from jaxcv.faces.gallery import ranking
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.gallery.nearest import as_tiles, capacity, nearest_rows, query_capacity


@pytest.mark.parametrize("k", [1, 5, 200])  # below and above the number of blocks, and of rows
def test_nearest_rows_equals_sorting(k):
    random = np.random.default_rng(0)
    # Small whole numbers: exact products, hence equal scores, many of them.
    rows = random.integers(-3, 4, (384, 4)).astype(np.float32)
    queries = random.integers(-3, 4, (7, 4)).astype(np.float32)
    tiles = as_tiles(rows, 128)
    assert tiles.shape == (3, 4, 128)
    for count in (1, 128, 300):
        scores, found = nearest_rows(queries, tiles, count, k=k)
        every = queries @ rows[:count].T
        best = -np.sort(-every, axis=1)[:, :k]
        here = min(k, count)
        np.testing.assert_array_equal(scores[:, :here], best)
        np.testing.assert_array_equal(
            np.take_along_axis(every, np.asarray(found)[:, :here], 1), best
        )
        assert np.isneginf(scores[:, here:]).all()
        assert (found[:, here:] == -1).all()
        assert all(len(set(row)) == here for row in np.asarray(found)[:, :here].tolist())


def test_few_sizes_occur():
    for tile in (4096, 32768):
        sizes = [capacity(count, tile) for count in range(1, 200_000, 7)]
        assert all(size >= count for size, count in zip(sizes, range(1, 200_000, 7)))
        assert all(size % min(tile, size) == 0 and size % 64 == 0 for size in sizes)
        assert sizes == sorted(sizes)
        assert len(set(sizes)) < 50
    assert capacity(100_000, 4096) <= 100_000 * 9 / 8
    counts = range(1, 1025)
    assert all(c <= query_capacity(c) <= max(2 * c if c < 9 else c * 9 / 8, 1) for c in counts)
    assert len({query_capacity(c) for c in counts}) < 70


def test_enrolling_does_not_compile_again():
    random = np.random.default_rng(0)
    gallery = DeviceGallery(embedding_size=4, model_digest="m")
    queries = np.eye(4)[:2]
    gallery.enroll("0", random.standard_normal((4, 4)))
    gallery.search(queries)
    compiled = nearest_rows._cache_size()
    for name in range(1, 100):
        gallery.enroll(str(name), random.standard_normal((1, 4)))
        gallery.search(queries)
    assert nearest_rows._cache_size() <= compiled + 1  # a search that had to look further


def test_queries_are_worked_through_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    rows, queries = (random.standard_normal((n, 4)).astype(np.float32) for n in (200, 50))
    gallery = DeviceGallery(embedding_size=4, model_digest="m")
    gallery.enroll_many([str(i) for i in range(200)], rows)
    whole = gallery.search(queries, 3)
    monkeypatch.setattr(ranking, "_QUERIES", 16)
    assert gallery.search(queries, 3) == whole


def test_a_store_that_proposes_near_equals_in_the_wrong_order_does_not_change_the_answer():
    # Scores that differ by less than float32 adding can tell: the store's own are off by its error.
    random = np.random.default_rng(0)
    query = np.eye(64, dtype=np.float32)[:1]
    rows = np.repeat(query, 200, axis=0)
    rows[:, 1] = 1e-3
    rows[:, 0] -= np.arange(200) * np.float32(2.0**-24)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    true = ranking.exact_scores(query, rows[None])[0]
    noisy = true + random.uniform(-1, 1, 200).astype(np.float32) * np.float32(64 * 2.0**-24)
    order = np.argsort(-noisy)

    def propose(queries, count):
        kept = order[:count]
        entries = [ranking.Entry(id=int(i), subject=str(i)) for i in kept]
        return ranking.Candidates(
            scores=noisy[None, kept], entries=[entries], vectors=rows[None, kept]
        )

    (found,) = ranking.rank(query, 5, propose, total=200)
    best = sorted(range(200), key=lambda i: (-true[i], i))[:5]
    assert [match.entry for match in found] == best
