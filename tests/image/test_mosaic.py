"""Mosaic: pixels and boxes go together, groups stand alone, devices agree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

SIZE = (16, 20)
KEYS = jax.random.split(jax.random.key(5), 8)
ROWS = 8


def marked(seed=0, count=3):
    """Images whose pixels tell row and place, and boxes in them; the last of a row is padding."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    images = np.stack([np.stack([y, x, np.full(SIZE, row)], -1) for row in range(ROWS)])
    low = rng.integers(0, 8, (ROWS, count, 2))
    boxes = np.concatenate([low, low + rng.integers(3, 9, (ROWS, count, 2))], -1).astype(np.float32)
    classes = 10 * np.arange(ROWS, dtype=np.int32)[:, None] + np.arange(count, dtype=np.int32)
    ignored = classes % 2 == 1
    boxes[:, -1], classes[:, -1], ignored[:, -1] = 0, -1, False
    return images.astype(np.uint8), boxes, classes, ignored


BATCH = marked()
EVERY = ji.Mosaic(min_visibility=0.0)


@functools.partial(jax.jit, static_argnums=0)
def run(mosaic, key, batch, mask=None, rows=None):
    return mosaic(key, *batch, mask=mask, rows=rows)


def test_every_pixel_is_of_the_group_and_in_its_tile():
    """Four tiles that meet at one corner, each an unbroken piece of another image of the group."""
    corners, orders = set(), set()
    for key in KEYS:
        images = np.asarray(run(ji.Mosaic(), key, BATCH)[0])
        assert images.dtype == np.uint8
        assert images.shape == BATCH[0].shape
        for row, image in enumerate(images.astype(int)):
            source = image[..., 2]
            # Where the source changes along the first row and the first column.
            x = int(np.argmax(source[0] != source[0, 0]))
            y = int(np.argmax(source[:, 0] != source[0, 0]))
            corners.add((y, x))
            assert 0.2 * 16 - 0.5 <= y <= 0.8 * 16 + 0.5
            assert 0.2 * 20 - 0.5 <= x <= 0.8 * 20 + 0.5
            order = []
            for down, part in enumerate((slice(0, y), slice(y, None))):
                for across, piece in enumerate((slice(0, x), slice(x, None))):
                    tile = image[part, piece]
                    (one,) = np.unique(tile[..., 2])
                    order.append(one - row // 4 * 4)
                    wanted = BATCH[0][one]
                    wanted = wanted[16 - y :] if down == 0 else wanted[: 16 - y]
                    wanted = wanted[:, 20 - x :] if across == 0 else wanted[:, : 20 - x]
                    np.testing.assert_array_equal(tile, wanted)
            assert sorted(order) == [0, 1, 2, 3]
            orders.add(tuple(order))
    assert len(corners) > 30
    assert len(orders) > 10


def test_boxes_are_the_hulls_of_their_pixels():
    """Paint each box alone, take the mosaic of it, and compare with the box that comes out."""
    _, boxes, classes, ignored = BATCH
    found = 0
    for key in KEYS[:3]:
        _, moved, labels, hard = run(EVERY, key, BATCH)
        for row in range(ROWS):
            for i in np.flatnonzero(classes[row] >= 0):
                x0, y0, x1, y1 = boxes[row, i].astype(int)
                painted = np.zeros((ROWS, *SIZE, 3), np.uint8)
                painted[row, y0:y1, x0:x1] = 1
                seen = np.asarray(run(EVERY, key, (painted, *BATCH[1:]))[0])[..., 0]
                for picture in range(row // 4 * 4, row // 4 * 4 + 4):
                    (places,) = np.nonzero(np.asarray(labels[picture]) == classes[row, i])
                    assert len(places) == seen[picture].any()
                    if not len(places):
                        continue
                    found += 1
                    ys, xs = np.nonzero(seen[picture])
                    hull = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                    assert moved[picture, places[0]].tolist() == hull
                    assert hard[picture, places[0]] == ignored[row, i]
    assert found > 60


def fractions(boxes, classes):
    """Share of its own area that each box shows; 0 in padding."""
    whole = dict(zip(BATCH[2].ravel().tolist(), areas(BATCH[1]).ravel().tolist()))
    original = [[whole[label] for label in row] for row in np.asarray(classes).tolist()]
    return np.where(np.asarray(classes) >= 0, areas(boxes) / np.maximum(original, 1e-9), 0)


def areas(boxes):
    return np.prod(np.asarray(boxes)[..., 2:] - np.asarray(boxes)[..., :2], axis=-1)


def test_boxes_too_little_seen_are_dropped():
    for key in KEYS[:4]:
        every = run(EVERY, key, BATCH)
        some = run(ji.Mosaic(min_visibility=0.5), key, BATCH)
        labels = np.asarray(every[2])
        kept = fractions(every[1], labels) >= 0.5
        assert 0 < kept.sum() < (labels >= 0).sum()
        np.testing.assert_array_equal(some[2], np.where(kept, labels, -1))
        np.testing.assert_array_equal(some[1], np.where(kept[..., None], every[1], 0))
        np.testing.assert_array_equal(some[3], kept & np.asarray(every[3]))


def test_devices_with_whole_groups_give_what_one_gives():
    mosaic = ji.Mosaic(0.7, max_boxes=5)
    whole = run(mosaic, KEYS[0], BATCH)
    half = [
        run(mosaic, KEYS[0], tuple(part[i : i + 4] for part in BATCH), None, jnp.arange(i, i + 4))
        for i in (0, 4)
    ]
    mapped = jax.pmap(
        lambda *batch: mosaic(KEYS[0], *batch, rows=jax.lax.axis_index("d") * 4 + jnp.arange(4)),
        axis_name="d",
        devices=jax.devices()[:2],
    )(*(part.reshape(2, 4, *part.shape[1:]) for part in BATCH))
    for i, wanted in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in half]), wanted)
        np.testing.assert_array_equal(mapped[i].reshape(wanted.shape), wanted)


def test_rows_of_a_group_differ_and_so_do_steps():
    first, second = (np.asarray(run(ji.Mosaic(), key, BATCH)[0]) for key in KEYS[:2])
    assert len({image.tobytes() for image in first[:4]}) == 4
    assert not np.array_equal(first, second)


def unmixed(result, rows, count=12):
    images, boxes, classes, ignored = BATCH
    for row in rows:
        np.testing.assert_array_equal(result[0][row], images[row])
        np.testing.assert_array_equal(result[1][row, :3], boxes[row])
        assert not np.asarray(result[1][row, 3:]).any()
        assert result[2][row].tolist() == [*classes[row], *[-1] * (count - 3)]
        assert result[3][row].tolist() == [*ignored[row], *[False] * (count - 3)]


def test_an_incomplete_group_stays():
    short = tuple(part[:6] for part in BATCH)
    result = run(ji.Mosaic(), KEYS[0], short)
    unmixed(result, (4, 5))
    assert len(np.unique(result[0][0, ..., 2])) == 4
    mask = np.ones(ROWS, bool)
    mask[2] = False
    result = run(ji.Mosaic(), KEYS[0], BATCH, mask)
    unmixed(result, range(4))
    assert len(np.unique(result[0][4, ..., 2])) == 4


def test_probability():
    unmixed(run(ji.Mosaic(0.0), KEYS[0], BATCH), range(ROWS))
    mixed = [
        len(np.unique(image)) > 1
        for key in KEYS
        for image in np.asarray(run(ji.Mosaic(0.5), key, BATCH)[0])[..., 2]
    ]
    assert 18 <= sum(mixed) <= 46  # 64 draws of probability 1/2: four standard deviations are 16


@pytest.mark.parametrize("max_boxes", [2, 20])
def test_fewer_boxes_are_those_most_seen(max_boxes):
    for key in KEYS[:3]:
        _, boxes, classes, ignored = map(np.asarray, run(ji.Mosaic(), key, BATCH))
        some = [np.asarray(part) for part in run(ji.Mosaic(max_boxes=max_boxes), key, BATCH)]
        assert some[1].shape == (ROWS, max_boxes, 4)
        fraction = fractions(boxes, classes)
        for row in range(ROWS):
            (places,) = np.nonzero(classes[row] >= 0)
            best = places[np.argsort(-fraction[row, places], kind="stable")][:max_boxes]
            padding = max_boxes - len(best)
            assert some[2][row].tolist() == [*classes[row, best], *[-1] * padding]
            np.testing.assert_array_equal(some[1][row, : len(best)], boxes[row, best])
            assert not some[1][row, len(best) :].any()
            assert some[3][row].tolist() == [*ignored[row, best], *[False] * padding]


def test_floats_and_boxes_without_area():
    images = BATCH[0].astype(np.float32) / 255
    boxes = BATCH[1].copy()
    boxes[:, 0, 2] = boxes[:, 0, 0]
    result = run(ji.Mosaic(), KEYS[0], (images, boxes, *BATCH[2:]))
    alone = np.asarray(run(ji.Mosaic(), KEYS[0], BATCH)[0])
    np.testing.assert_array_equal(result[0], alone.astype(np.float32) / 255)
    assert set(np.asarray(result[2]).ravel() % 10) <= {1, 9}  # -1 % 10 is 9
    assert all(np.isfinite(part).all() for part in result)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.Mosaic(1.5), "probability"),
        (lambda: ji.Mosaic(center=(0.8, 0.2)), "center"),
        (lambda: ji.Mosaic(min_visibility=2.0), "min_visibility"),
        (lambda: ji.Mosaic(max_boxes=0), "max_boxes=0"),
        (lambda: ji.Mosaic()(KEYS[0], BATCH[0][0], *BATCH[1:]), "takes a batch"),
        (lambda: ji.Mosaic()(KEYS[0], BATCH[0], BATCH[1][..., :3], *BATCH[2:]), r"\(8, 3, 3\)"),
        (lambda: ji.Mosaic()(KEYS[0], *BATCH[:2], BATCH[2][:, :2], BATCH[3]), r"\(8, 2\)"),
        (lambda: ji.Mosaic()(KEYS[0], *BATCH, mask=np.ones(4, bool)), r"must be \[8\]"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_batch_is_joined_as_its_parts_are():
    images, boxes, classes, ignored = BATCH
    mask = np.ones(ROWS, bool)
    batch = {"image": images, "boxes": boxes, "classes": classes, "ignored": ignored, "mask": mask}
    rows = 8 + np.arange(ROWS)
    found = ji.Mosaic().mix_batch(KEYS[0], {**batch, "record": rows}, rows=rows)
    wanted = run(ji.Mosaic(), KEYS[0], BATCH, mask, rows)
    for name, part in zip(("image", "boxes", "classes", "ignored"), wanted, strict=True):
        np.testing.assert_array_equal(found[name], part)
    np.testing.assert_array_equal(found["record"], rows)
    ji.Mosaic().check_record(batch, "photo 1")
    with pytest.raises(ValueError, match="a mosaic joins images with boxes.*photo 1 has no boxes"):
        ji.Mosaic().check_record({"image": images[0], "label": 3}, "photo 1")
