"""Label maps, boxes and points go where the image goes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

SIZE = (20, 28)
KEYS = jax.random.split(jax.random.key(11), 8)
LABELS = np.random.default_rng(0).integers(0, 11, SIZE).astype(np.uint8)
FLIP = ji.RandomHorizontalFlip(1.0)

GEOMETRIC = [
    ji.RandomHorizontalFlip(),
    ji.RandomTranslation((0.3, 0.4), fill=0.5),
    ji.RandomCrop((16, 20), padding=5, padding_mode="reflect"),
    ji.RandomResizedCrop((16, 20)),
    ji.RandomScaleCrop((16, 20)),
    ji.RandomRotation(60.0),
    ji.RandomAffine(40.0, scale=(0.5, 2.0), shear=(20.0, 10.0)),
    ji.RandomApply(ji.RandomAffine(40.0, interpolation="nearest"), 0.5),
]


def moved(transforms, sample, keys=KEYS, **options):
    """The sample under each of `keys`."""
    function = functools.partial(ji.transform_sample, tuple(transforms), **options)
    return jax.jit(jax.vmap(function, in_axes=(0, None)))(keys, sample)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("min_visibility", "mirror_order"))
def once(transforms, sample, **options):
    """The sample under the first key."""
    return ji.transform_sample(transforms, KEYS[0], sample, **options)


def ids(transform):
    return type(transform).__name__


def darkened(key, image):
    """A change of colour that is drawn, and cheap to compile."""
    return image * jax.random.uniform(key)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=ids)
def test_image_is_that_of_apply_sequence_and_the_label_is_the_warp(transform, photo):
    image = jnp.asarray(photo[: SIZE[0], : SIZE[1]], jnp.float32) / 255
    transforms = (darkened, transform, darkened)
    inner = getattr(transform, "transform", transform)

    @jax.jit
    @jax.vmap
    def compared(key):
        sample = {"image": image, "label": LABELS, "name": 7}
        result = ji.transform_sample(transforms, key, sample)
        key, alone = jax.random.fold_in(key, 1), ji.apply_sequence(transforms, key, image)
        applied = True
        if inner is not transform:
            chance, key = jax.random.split(key)
            applied = jax.random.bernoulli(chance, transform.probability)
        matrix, size = inner.matrix(key, SIZE), inner.output_size(SIZE)
        label = ji.warp(LABELS[..., None], matrix, size, interpolation="nearest", fill=255)[..., 0]
        return result, alone, jnp.where(applied, label, LABELS) if inner is not transform else label

    result, image_alone, label = compared(KEYS)
    np.testing.assert_array_equal(result["image"], image_alone)
    np.testing.assert_array_equal(result["label"], label)
    assert result["label"].dtype == np.uint8
    assert result["name"].tolist() == [7] * len(KEYS)
    assert len({label.tobytes() for label in np.asarray(result["label"])}) > 1


def test_flips_crops_and_shifts_of_labels_are_exact():
    image = jnp.zeros((*SIZE, 3))
    both = (ji.RandomHorizontalFlip(1.0), ji.RandomVerticalFlip(1.0))
    flipped = once(both, {"image": image, "label": LABELS})["label"]
    np.testing.assert_array_equal(flipped, LABELS[::-1, ::-1])
    # An image made of its own label values: the two must be cut at the same place.
    drawn = np.repeat(LABELS[..., None], 3, axis=-1)
    for transform in (ji.RandomCrop((9, 11)), ji.RandomCrop(padding=4, fill=1.0)):
        result = moved((transform,), {"image": drawn, "label": LABELS})
        np.testing.assert_array_equal(result["image"][..., 0], result["label"])
    shifted = moved(
        (ji.RandomTranslation((0.4, 0.4), fill=1.0),), {"image": drawn, "label": LABELS}
    )
    np.testing.assert_array_equal(shifted["image"][..., 1], shifted["label"])
    assert (shifted["label"] == 255).any()


@pytest.mark.parametrize(("dtype", "ignore"), [(np.int32, -1), (np.uint8, 11)])
def test_outside_is_the_ignore_label_in_any_dtype(dtype, ignore):
    sample = {"image": jnp.ones((*SIZE, 1)), "label": np.zeros(SIZE, dtype)}
    transforms = (ji.RandomCrop(padding=8), ji.RandomRotation(45.0, interpolation="nearest"))
    result = moved(transforms, sample, ignore_label=ignore)
    assert result["label"].dtype == dtype
    # The image is 1 inside and 0 outside.
    expected = np.where(result["image"][..., 0] == 1, 0, ignore)
    np.testing.assert_array_equal(result["label"], expected)
    assert (expected == ignore).any()


def test_photometric_transforms_leave_annotations_alone(photo):
    sample = {
        "image": photo,
        "label": np.zeros(photo.shape[:2], np.int32),
        "boxes": jnp.asarray([[-3.0, 2.0, 5.0, 9.0]]),
        "classes": jnp.asarray([4]),
        "points": jnp.asarray([[1.0, 2.0]]),
    }
    jitter = (ji.ColorJitter(), ji.RandomApply(ji.GaussianBlur()), ji.RandomErasing())
    result = once(jitter, sample)
    for name in ("label", "boxes", "classes", "points"):
        np.testing.assert_array_equal(result[name], sample[name])
    assert result["visible"].tolist() == [True]


def test_a_sample_without_annotations_traces_to_the_image_alone(photo):
    transforms = (ji.RandomAffine(), ji.ColorJitter())
    plain = jax.make_jaxpr(functools.partial(ji.apply_sequence, transforms))(KEYS[0], photo)

    def image_of(key, image, label):
        return ji.transform_sample(transforms, key, {"image": image, "label": label})["image"]

    for label in (np.int32(3), np.zeros(5, np.float32)):
        traced = jax.make_jaxpr(image_of)(KEYS[0], photo, label)
        assert len(traced.eqns) == len(plain.eqns)


def test_boxes_by_hand():
    sample = {
        "image": jnp.zeros((10, 20, 3)),
        "boxes": jnp.asarray([[2.0, 1, 6, 4], [0, 0, 20, 10], [0, 0, 0, 0], [3, 3, 3, 9]]),
        "classes": jnp.asarray([5, 0, -1, 2]),
    }
    result = once((FLIP,), sample)
    # The last one has no area.
    expected = [[14.0, 1, 18, 4], [0, 0, 20, 10], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert result["boxes"].tolist() == expected
    assert result["classes"].tolist() == [5, 0, -1, -1]


class Turn:
    """A quarter turn: (x, y) -> (y, W - x)."""

    def matrix(self, key, size):
        return jnp.asarray([[0.0, 1, 0], [-1, 0, size[1]], [0, 0, 1]])

    def output_size(self, size):
        return size[1], size[0]

    def __call__(self, key, image):
        return jnp.rot90(image)


class Shift:
    """So many pixels to the right."""

    def __init__(self, x):
        self.x = x

    def matrix(self, key, size):
        return ji.translation_matrix(self.x, 0)

    def output_size(self, size):
        return size

    def __call__(self, key, image):
        return ji.translate(image, self.x, 0)


def test_a_transform_of_ones_own_that_changes_the_size():
    label = np.arange(12, dtype=np.int32).reshape(3, 4)
    sample = {
        "image": jnp.asarray(label, jnp.float32)[..., None],
        "label": label,
        "boxes": jnp.asarray([[0.0, 0, 1, 3]]),
        "classes": jnp.asarray([1]),
        "points": jnp.asarray([[0.5, 2.5]]),
    }
    result = once((Turn(), FLIP), sample)
    np.testing.assert_array_equal(result["label"], np.rot90(label)[:, ::-1])
    np.testing.assert_array_equal(result["image"][..., 0], result["label"])
    assert result["boxes"].tolist() == [[0.0, 3, 3, 4]]
    assert result["points"].tolist() == [[0.5, 3.5]]


def test_boxes_are_dropped_by_the_share_that_is_left():
    sample = {
        "image": jnp.zeros((10, 10, 1)),
        "boxes": jnp.asarray([[0.0, 0, 8, 10], [6, 0, 10, 10], [9, 0, 10, 10]]),
        "classes": jnp.asarray([0, 1, 2]),
    }
    # 4 to the right: the first keeps 6 of 8 columns, the others 0 of 4 and 0 of 1.
    result = once((Shift(4),), sample)
    assert result["boxes"].tolist() == [[4.0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert result["classes"].tolist() == [0, -1, -1]
    # There and back: 3/4 of the first is left although the second step loses nothing.
    for threshold, kept in ((0.75, 0), (0.76, -1)):
        back = once((Shift(4), Shift(-4)), sample, min_visibility=threshold)
        assert back["classes"][0] == kept


@pytest.mark.parametrize("transform", [*GEOMETRIC, ji.ColorJitter()], ids=ids)
def test_rows_of_boxes_keep_their_place(transform):
    """What else is known of a box stays in its row, and goes with it."""
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 14, (6, 2))
    sample = {
        "image": jnp.zeros((*SIZE, 3)),
        "boxes": jnp.asarray(np.concatenate([low, low + rng.uniform(2, 6, (6, 2))], 1)),
        "classes": jnp.asarray([3, 1, 4, -1, 5, 9]),
        "ignored": jnp.asarray([True, False, True, False, False, True]),
        "area": jnp.asarray([10.0, 20, 30, 0, 50, 60]),
        "placement": jnp.asarray([0.5, 0.25, 3, 7]),
        "mask": jnp.asarray(True),
    }
    result = {key: np.asarray(values) for key, values in moved((transform,), sample).items()}
    kept = result["classes"] >= 0
    assert kept.any()
    for key, padding in (("classes", -1), ("ignored", False), ("area", 0)):
        np.testing.assert_array_equal(result[key], np.where(kept, sample[key], padding))
        assert result[key].dtype == sample[key].dtype
    assert (result["boxes"][~kept] == 0).all()
    for key in ("placement", "mask"):
        np.testing.assert_array_equal(result[key], np.stack([sample[key]] * len(KEYS)))


def test_a_dropped_box_is_neither_ignored_nor_of_an_area():
    sample = {
        "image": jnp.zeros((10, 10, 1)),
        "boxes": jnp.asarray([[8.0, 0, 10, 10], [0, 0, 4, 4]]),
        "classes": jnp.asarray([0, 1]),
        "ignored": jnp.asarray([True, True]),
        "area": jnp.asarray([20.0, 16.0]),
    }
    result = once((Shift(4),), sample)
    assert result["classes"].tolist() == [-1, 1]
    assert result["ignored"].tolist() == [False, True]
    assert result["area"].tolist() == [0, 16]
    # A value of another shape is not of the boxes.
    assert once((Shift(4),), {**sample, "area": 7.0})["area"] == 7.0


def test_hull_of_a_turned_box_holds_the_object(photo):
    """The pixels that a box marks lie inside the moved box, wherever they go."""
    label = np.full(SIZE, 0, np.uint8)
    label[6:14, 9:20] = 1
    sample = {
        "image": jnp.asarray(label)[..., None],
        "label": label,
        "boxes": jnp.asarray([[9.0, 6, 20, 14]]),
        "classes": jnp.asarray([3]),
    }
    result = moved((ji.RandomAffine(90.0, scale=(0.7, 1.5)), ji.RandomVerticalFlip()), sample)
    for found, box in zip(np.asarray(result["label"]) == 1, np.asarray(result["boxes"])[:, 0]):
        rows, columns = np.nonzero(found)
        hull = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # The hull of pixels whose centre is inside is within a pixel of the corners' hull.
        np.testing.assert_allclose(box, hull, atol=1.0 + 1e-3)


def test_points_and_their_visibility():
    sample = {
        "image": jnp.zeros((10, 10, 1)),
        "points": jnp.asarray([[1.0, 2.0], [8.0, 3.0], [5.0, 5.0]]),
        "visible": jnp.asarray([True, True, False]),
    }
    result = once((Shift(4), Shift(-4)), sample)
    np.testing.assert_array_equal(result["points"], sample["points"])
    assert result["visible"].tolist() == [True, False, False]
    swapped = once((FLIP,), sample, mirror_order=(1, 0, 2))
    assert swapped["points"].tolist() == [[2.0, 3.0], [9.0, 2.0], [5.0, 5.0]]
    kept = once((FLIP, FLIP), sample, mirror_order=(1, 0, 2))
    np.testing.assert_array_equal(kept["points"], sample["points"])


def test_points_behind_the_viewer_are_finite():
    matrix = jnp.asarray([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    points, in_front = ji.transform_points(matrix, [[2.0, 4.0], [-1.0, 0.0], [0.0, 3.0]])
    assert points.tolist() == [[1.5, 2.0], [0.0, 0.0], [0.0, 0.0]]
    assert in_front.tolist() == [True, False, False]
    boxes, fraction = ji.transform_boxes(matrix, [[-1.0, 0, 2, 2], [1, 1, 2, 3]], (9, 9))
    assert fraction.tolist() == [0.0, 1.0]
    assert np.isfinite(boxes).all()


DEPTH = np.random.default_rng(2).uniform(2.0, 90.0, SIZE).astype(np.float32)


def test_float_maps_are_flipped_cut_and_shifted_exactly():
    """Values far outside [0, 1] are kept; where there is no image, they are 0 and not valid."""
    image = jnp.zeros((*SIZE, 3))
    both = (ji.RandomHorizontalFlip(1.0), ji.RandomVerticalFlip(1.0))
    for label in (DEPTH, np.stack([DEPTH, -DEPTH], axis=-1)):
        flipped = once(both, {"image": image, "label": label})
        np.testing.assert_array_equal(flipped["label"], label[::-1, ::-1])
        assert flipped["valid"].all()
    shifted = once((Shift(4),), {"image": image, "label": DEPTH})
    np.testing.assert_array_equal(shifted["label"][:, 4:], DEPTH[:, :-4])
    assert not shifted["label"][:, :4].any()
    wanted = np.broadcast_to(np.arange(SIZE[1]) >= 4, SIZE)
    np.testing.assert_array_equal(shifted["valid"], wanted)
    # An image made of its own label: the two must be cut at the same place.
    drawn = DEPTH[..., None] / 255
    cut = moved((ji.RandomCrop((16, 20), padding=5, fill=1.0),), {"image": drawn, "label": DEPTH})
    inside = np.asarray(cut["valid"])
    np.testing.assert_allclose(255 * cut["image"][..., 0][inside], cut["label"][inside], rtol=1e-6)
    assert (np.asarray(cut["image"])[..., 0][~inside] == 1).all()
    assert 0 < inside.mean() < 1


@pytest.mark.parametrize("transform", GEOMETRIC[3:7], ids=ids)
def test_a_target_picture_is_interpolated_as_the_image_is(transform):
    """A smooth picture, which is its own target; where it is empty, the target says so."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    picture = np.stack([np.sin(x / 3), np.cos(y / 4 + x / 9), 0 * x], axis=-1) / 2 + 0.5
    found = moved((darkened, transform), {"image": picture, "label": picture})
    bright = moved((transform,), {"image": picture, "label": picture})
    inside = np.asarray(bright["valid"])
    np.testing.assert_allclose(bright["image"][inside], bright["label"][inside], atol=2e-5)
    assert not np.asarray(bright["label"])[~inside].any()
    # What changes colours alone leaves the target as it is. The keys of the two differ by their place.
    values = np.asarray(found["label"])[np.asarray(found["valid"])]
    assert values[:, 2] == pytest.approx(0.5, abs=1e-5)


def test_a_map_interpolates_half_way():
    ramp = np.asarray([[0.0, 10.0, 20.0, 30.0]], np.float32)
    holed = {"valid": np.asarray([[True, True, False, True]])}
    sample = {"image": jnp.zeros((1, 4, 1)), "label": ramp}
    half = once((Shift(0.5),), sample)
    np.testing.assert_allclose(half["label"], [[0, 5, 15, 25]])
    assert half["valid"].all()
    # Next to a pixel without a value nothing can be interpolated.
    half = once((Shift(0.5),), {**sample, **holed})
    np.testing.assert_allclose(half["label"], [[0, 5, 0, 0]])
    assert half["valid"].tolist() == [[True, True, False, False]]
    kept = once((darkened,), {**sample, **holed})
    np.testing.assert_array_equal(kept["label"], ramp)
    np.testing.assert_array_equal(kept["valid"], holed["valid"])


def test_gradients_reach_a_target_and_stay_finite():
    transforms = (ji.RandomRotation(45.0), ji.RandomScaleCrop((16, 20), scale=(0.5, 0.6)))

    def total(label):
        sample = {"image": jnp.zeros((*SIZE, 3)), "label": label}
        found = ji.transform_sample(transforms, KEYS[0], sample)
        return jnp.sum(jnp.where(found["valid"], found["label"], 0.0))

    gradient = jax.jit(jax.grad(total))(jnp.asarray(DEPTH))
    assert np.isfinite(gradient).all()
    assert np.any(gradient != 0)


def test_class_maps_with_channels_follow_too():
    layers = np.stack([LABELS, LABELS[::-1]], axis=-1)
    sample = {"image": jnp.zeros((*SIZE, 3))}
    for transform in (ji.RandomCrop((9, 11), padding=3), ji.RandomRotation(60.0)):
        both = moved((transform,), {**sample, "label": layers})["label"]
        for channel in (0, 1):
            one = moved((transform,), {**sample, "label": layers[..., channel]})["label"]
            np.testing.assert_array_equal(both[..., channel], one)


def test_points_swap_as_the_record_or_the_rules_say():
    sample = {"image": jnp.zeros((10, 10, 1)), "points": jnp.asarray([[1.0, 2.0], [8.0, 3.0]])}
    swapped = [[2.0, 3.0], [9.0, 2.0]]
    own = once((FLIP,), {**sample, "mirror_order": np.asarray([1, 0])})
    assert own["points"].tolist() == swapped
    rules = ji.AnnotationRules(mirror_order=(1, 0))
    assert rules.transform((FLIP,), KEYS[0], sample)["points"].tolist() == swapped
    other = rules.transform((FLIP,), KEYS[0], {"image": sample["image"], "label": 3})
    assert other["label"] == 3  # a record without points has nothing to swap
    with pytest.raises(ValueError, match=r"mirror_order must be \[2\] as the points, not \(3,\)"):
        once((FLIP,), {**sample, "mirror_order": np.asarray([1, 0, 2])})


def test_what_cannot_follow_may_stay_where_nothing_moves():
    sample = {"image": jnp.zeros((*SIZE, 3)), "normals": np.zeros((*SIZE, 3), np.float32)}
    kept = ji.transform_sample((darkened,), KEYS[0], {**sample, "label": DEPTH[:5]})
    np.testing.assert_array_equal(kept["normals"], sample["normals"])
    np.testing.assert_array_equal(kept["label"], DEPTH[:5])


@pytest.mark.parametrize(
    ("sample", "transforms", "message"),
    [
        ({"label": np.zeros((4, 5), np.uint8)}, (), r"\(4, 5\), but the image is \(20, 28\)"),
        ({"boxes": np.zeros((3, 4))}, (), "classes are missing"),
        ({"boxes": np.zeros((3, 4)), "classes": np.zeros(2, int)}, (), "classes"),
        ({"points": np.zeros((3, 3))}, (), "points must be"),
        ({"points": np.zeros((3, 2))}, (), "mirror_order"),
        ({"label": np.zeros(SIZE, np.int8)}, (), "255 is no value of a int8"),
        ({"label": LABELS}, (ji.RandAugment(),), "RandAugment moves pixels"),
        ({"label": LABELS}, (ji.RandomApply(ji.TrivialAugment()),), "TrivialAugment moves"),
        ({"label": LABELS}, (lambda key, image: image[:5],), "made an image of"),
        (
            {"label": DEPTH[:5]},
            (FLIP,),
            r"'label', float32 \(5, 28\), cannot follow an image of \(20",
        ),
        ({"label": DEPTH, "valid": np.ones((5, 28), bool)}, (), r"valid must be \(20, 28\)"),
        ({"label": LABELS > 3}, (FLIP,), r"'label', bool \(20, 28\), cannot follow"),
        ({"depth": DEPTH}, (ji.RandomApply(FLIP),), "'depth', float32 .* cannot follow"),
        ({"label": LABELS, "valid": LABELS > 3}, (FLIP,), "'valid', bool .* cannot follow"),
        ({"depth": DEPTH}, (ji.TrivialAugment(),), "'depth', float32 .* cannot follow"),
    ],
)
def test_what_cannot_be_followed_is_refused(sample, transforms, message):
    with pytest.raises(ValueError, match=message):
        ji.transform_sample(
            transforms,
            KEYS[0],
            {"image": jnp.zeros((*SIZE, 3)), **sample},
            mirror_order=(0, 1) if "points" in sample else None,
        )
