import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji
from jaxcv.image.random_crop import sample_rectangle

KEYS = jax.random.split(jax.random.key(5), 500)


def test_random_crop_reaches_every_place_and_no_other():
    transform = ji.RandomCrop(padding=2)
    matrices = np.asarray(jax.jit(jax.vmap(lambda key: transform.matrix(key, (8, 6))))(KEYS))
    places = {(int(m[0, 2]), int(m[1, 2])) for m in matrices}
    assert places == {(x, y) for x in range(-2, 3) for y in range(-2, 3)}


def test_random_crop_is_a_piece_of_the_padded_image(photo):
    transform = ji.RandomCrop(size=(30, 50), padding=2, padding_mode="edge")
    crops = jax.jit(jax.vmap(transform, (0, None)))(KEYS[:5], photo)
    padded = np.pad(photo, ((2, 2), (2, 2), (0, 0)), "edge")
    pieces = {padded[y : y + 30, x : x + 50].tobytes() for y in range(15) for x in range(11)}
    assert all(np.asarray(crop).tobytes() in pieces for crop in crops)


def test_crop_of_the_whole_image_is_the_identity(photo):
    np.testing.assert_array_equal(ji.RandomCrop()(KEYS[0], photo), photo)
    np.testing.assert_array_equal(ji.RandomCrop(size=(40, 56))(KEYS[0], photo), photo)


def test_resized_crop_of_the_whole_image_is_the_identity(photo):
    transform = ji.RandomResizedCrop(size=(40, 40), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    square = photo[:, :40]
    np.testing.assert_array_equal(jax.jit(transform)(KEYS[0], square), square)


def test_resized_crop_when_nothing_fits_takes_the_middle(photo):
    # The whole area at ratio 1 does not fit into 40 x 56; the largest central square does.
    transform = ji.RandomResizedCrop(
        size=(40, 40), scale=(1.0, 1.0), ratio=(1.0, 1.0), method="nearest"
    )
    np.testing.assert_array_equal(jax.jit(transform)(KEYS[0], photo), photo[:, 8:48])


def test_rectangles_lie_inside_and_have_the_asked_area_and_ratio():
    area, ratio = (0.1, 0.6), (0.5, 2.0)
    rectangles, found = jax.jit(jax.vmap(lambda key: sample_rectangle(key, (40, 56), area, ratio)))(
        KEYS
    )
    left, top, width, height = np.asarray(rectangles).T
    assert bool(jnp.all(found))
    assert min(left.min(), top.min()) >= 0
    assert (left + width).max() <= 56 + 1e-4
    assert (top + height).max() <= 40 + 1e-4
    parts = width * height / (40 * 56)
    assert 0.1 - 1e-5 <= parts.min() < 0.12
    assert 0.55 < parts.max() <= 0.6 + 1e-5
    assert 0.5 - 1e-5 <= (width / height).min() < 0.55
    assert 1.8 < (width / height).max() <= 2.0 + 1e-5
    # Small rectangles are found everywhere.
    small = parts < 0.2
    assert left[small].min() < 3
    assert (left + width)[small].max() > 53


def test_scale_crop_at_scale_1_is_a_piece_or_is_framed(photo):
    inside = ji.RandomScaleCrop(size=(30, 50), scale=(1.0, 1.0))
    pieces = {photo[y : y + 30, x : x + 50].tobytes() for y in range(11) for x in range(7)}
    crops = np.asarray(jax.jit(jax.vmap(inside, (0, None)))(KEYS[:50], photo))
    assert {crop.tobytes() for crop in crops} <= pieces
    assert len({crop.tobytes() for crop in crops}) > 20
    around = ji.RandomScaleCrop(size=(42, 60), scale=(1.0, 1.0), fill=1.0)
    white = np.full((44, 64, 3), 255, np.uint8)
    white[2:42, 4:60] = photo
    frames = {white[y : y + 42, x : x + 60].tobytes() for y in range(3) for x in range(5)}
    crops = np.asarray(jax.jit(jax.vmap(around, (0, None)))(KEYS[:50], photo))
    assert {crop.tobytes() for crop in crops} <= frames


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_scale_crop_is_the_warp_by_its_matrix(photo, method):
    transform = ji.RandomScaleCrop((36, 36), (0.4, 2.5), method, antialias=False, fill=1.0)

    @jax.jit
    @jax.vmap
    def both(key):
        image = ji.to_float(photo)
        matrix = transform.matrix(key, (40, 56))
        warped = ji.warp(image, matrix, (36, 36), interpolation=method, fill=1.0)
        return transform(key, image), warped, matrix

    found, wanted, matrices = both(KEYS[:30])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    scales = np.asarray(matrices[:, 0, 0])
    np.testing.assert_array_equal(scales, matrices[:, 1, 1])
    assert 0.4 <= scales.min() < 0.7
    assert 2.0 < scales.max() <= 2.5
    # A small image lies wholly in the window, a large one fills it.
    empty = np.all(np.asarray(wanted) == 1.0, axis=-1)
    assert not empty[scales > 0.9].any()
    shown = (~empty).sum((1, 2))[scales < 36 / 56]
    np.testing.assert_allclose(shown / (40 * 56), scales[scales < 36 / 56] ** 2, rtol=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image: ji.RandomCrop(size=(49, 10), padding=4)(KEYS[0], image), "49 x 10"),
        (lambda image: ji.RandomCrop(padding=-1), "padding is -1"),
        (lambda image: ji.RandomCrop(padding_mode="wrap"), "padding_mode is 'wrap', but must be"),
        (lambda image: ji.RandomCrop(size=(0, 4)), "size"),
        (lambda image: ji.RandomCrop(fill=-0.5), "fill=-0.5"),
        (lambda image: ji.RandomResizedCrop(scale=(0.5, 1.5)), "scale"),
        (lambda image: ji.RandomResizedCrop(ratio=(2.0, 0.5)), "ratio"),
        (lambda image: ji.RandomResizedCrop(method="linear"), "bilinear"),
        (lambda image: ji.RandomScaleCrop(scale=(2.0, 0.5)), "scale"),
        (lambda image: ji.RandomScaleCrop(size=(0, 5)), "size"),
        (lambda image: ji.RandomScaleCrop(fill=2.0), "fill=2.0"),
    ],
)
def test_bad_input(photo, make, message):
    with pytest.raises(ValueError, match=message):
        make(photo)
