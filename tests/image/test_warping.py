import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcv import image as ji
from jaxcv.image import warping

warp = jax.jit(ji.warp, static_argnames=("size", "interpolation", "fill"))
rotate = jax.jit(ji.rotate, static_argnames=("interpolation", "fill"))
translate = jax.jit(ji.translate, static_argnames="fill")

PERSPECTIVE = [[0.9, 0.1, 4.0], [-0.05, 1.1, -3.0], [0.002, 0.001, 1.0]]
MATRICES = {
    "identity": jnp.eye(3),
    "shift": ji.translation_matrix(3.3, -2.6),
    "scale": ji.about_center(ji.scaling_matrix(1.7, 0.6), (40, 56)),
    "rotation": ji.affine_matrix((40, 56), degrees=37.0),
    "affine": ji.affine_matrix(
        (40, 56), degrees=-20.0, translation=(3.0, 5.0), scale=0.8, shear=(0.3, 0.1)
    ),
    "perspective": jnp.asarray(PERSPECTIVE),
}


@pytest.fixture(scope="module")
def warped(photo):
    """Every matrix, both interpolations, from one compilation."""

    @jax.jit
    @jax.vmap
    def both(matrix):
        return [warp(photo, matrix, interpolation=i, fill=7) for i in ("nearest", "bilinear")]

    nearest, bilinear = both(jnp.stack(list(MATRICES.values())))
    return {
        name: {"nearest": np.asarray(nearest[i]), "bilinear": np.asarray(bilinear[i])}
        for i, name in enumerate(MATRICES)
    }


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", MATRICES)
def test_warp_equals_pillow(photo, warped, name, interpolation):
    inverse = np.linalg.inv(np.asarray(MATRICES[name], np.float64))
    expected = Image.fromarray(photo).transform(
        photo.shape[1::-1],
        Image.Transform.PERSPECTIVE,
        (inverse / inverse[2, 2]).reshape(-1)[:8],
        Image.Resampling[interpolation.upper()],
        fillcolor=(7, 7, 7),
    )
    difference = np.abs(warped[name][interpolation].astype(int) - np.asarray(expected))
    # A point on the border of two pixels may fall to either side; elsewhere only rounding differs.
    same = np.all(difference <= (0 if interpolation == "nearest" else 1), axis=-1)
    assert same.mean() >= 0.998


def test_identity_is_exact(photo, warped):
    for interpolation in ("nearest", "bilinear"):
        np.testing.assert_array_equal(warped["identity"][interpolation], photo)


@pytest.mark.parametrize("degrees", [0.0, 30.0, -75.0, 180.0])
def test_rotate_equals_pillow(photo, degrees):
    ours = rotate(photo, degrees)
    expected = np.asarray(Image.fromarray(photo).rotate(degrees, Image.Resampling.BILINEAR))
    same = np.all(np.abs(ours.astype(int) - expected) <= 1, axis=-1)
    assert same.mean() >= 0.998


def test_quarter_turn_is_counter_clockwise(photo):
    square = photo[:, :40]
    turned = rotate(square, 90.0, interpolation="nearest")
    np.testing.assert_array_equal(turned, np.rot90(square))


def test_whole_pixel_shift_is_a_slice(photo):
    moved = translate(photo, 3, -2, fill=9)
    np.testing.assert_array_equal(moved[:-2, 3:], photo[2:, :-3])
    np.testing.assert_array_equal(moved[-2:], np.full((2, 56, 3), 9))
    np.testing.assert_array_equal(moved[:, :3], np.full((40, 3, 3), 9))


def test_flip_matrix_is_a_flip(photo):
    size = photo.shape[:2]
    across = warp(photo, ji.flip_matrix(size, horizontal=True))
    down = warp(photo, ji.flip_matrix(size, horizontal=False))
    np.testing.assert_array_equal(across, ji.flip_horizontal(photo))
    np.testing.assert_array_equal(down, ji.flip_vertical(photo))


def test_window_of_another_size_is_a_crop(photo):
    window = warp(photo, ji.translation_matrix(-5, -3), (7, 11))
    np.testing.assert_array_equal(window, photo[3:10, 5:16])


def test_doubling_without_antialias_is_a_resize(photo):
    unit = ji.to_float(photo)
    warped = warp(unit, ji.scaling_matrix(2, 2), (80, 112))
    np.testing.assert_allclose(warped, ji.resize(unit, (80, 112), antialias=False), atol=1e-5)


@pytest.mark.parametrize("name", MATRICES)
def test_inverse_matrix(name):
    inverse, regular = ji.inverse_matrix(MATRICES[name])
    assert regular
    np.testing.assert_allclose(inverse @ MATRICES[name], np.eye(3), atol=1e-4)


def test_compose_applies_the_first_matrix_first():
    both = ji.compose(ji.scaling_matrix(2, 3), ji.translation_matrix(10, 20))
    np.testing.assert_allclose(both @ jnp.asarray([1.0, 1.0, 1.0]), [12, 23, 1])


def test_affine_matrix_parts():
    matrix = ji.affine_matrix((40, 56), degrees=90.0, translation=(1.0, 2.0), scale=2.0)
    center, right = jnp.asarray([28.0, 20.0, 1.0]), jnp.asarray([29.0, 20.0, 1.0])
    np.testing.assert_allclose(matrix @ center, [29, 22, 1], atol=1e-4)
    # One pixel to the right of the centre goes two pixels up: counter-clockwise, y points down.
    np.testing.assert_allclose(matrix @ right, [29, 20, 1], atol=1e-4)


def test_affine_equals_its_matrix(photo, warped):
    ours = jax.jit(ji.affine, static_argnames="fill")(
        photo, degrees=-20.0, translation=(3.0, 5.0), scale=0.8, shear=(0.3, 0.1), fill=7
    )
    np.testing.assert_array_equal(ours, warped["affine"]["bilinear"])


def test_label_map_is_unlabelled_exactly_where_the_image_is_empty():
    size = (20, 30)
    matrix = ji.affine_matrix(size, degrees=33.0, translation=(4.2, 1.7))
    image = warp(jnp.ones((*size, 1)), matrix, fill=0.0)
    labels = warp(jnp.ones((*size, 1), jnp.int32), matrix, interpolation="nearest", fill=255)
    assert labels.dtype == jnp.int32
    assert set(np.unique(labels)) == {1, 255}
    np.testing.assert_array_equal(np.asarray(labels) == 255, np.asarray(image) == 0)


def test_singular_matrix_shows_nothing():
    image = jnp.ones((4, 5, 1))
    for matrix in (jnp.zeros((3, 3)), jnp.full((3, 3), jnp.nan)):
        np.testing.assert_array_equal(warp(image, matrix, fill=0.25), np.full((4, 5, 1), 0.25))


def test_what_lies_behind_the_viewer_is_not_shown():
    # w = 1 - x / 10 vanishes in the middle of the window. Wide, so that all it shows exists.
    inverse = jnp.asarray([[1.0, 0, 0], [0, 1.0, 0], [-0.1, 0, 1.0]])
    image = warp(jnp.ones((500, 500, 1)), jnp.linalg.inv(inverse), (20, 20))
    assert bool(jnp.all(jnp.isfinite(image)))
    assert float(image[:, 10:].max()) == 0.0
    assert float(image[:, :10].min()) == 1.0


def test_gradient_to_the_matrix_is_finite():
    image = jnp.linspace(0.0, 1.0, 36).reshape(6, 6, 1)

    def total(matrix):
        return jnp.sum(warp(image, matrix))

    gradient = jax.jit(jax.vmap(jax.grad(total)))(
        jnp.stack([jnp.eye(3), jnp.zeros((3, 3)), MATRICES["perspective"]])
    )
    assert bool(jnp.all(jnp.isfinite(gradient)))
    # Moving a picture that grows downwards and to the right shows darker values.
    assert float(gradient[0, 0, 2]) < 0
    assert float(gradient[0, 1, 2]) < 0


def test_examples():
    assert doctest.testmod(warping).failed == 0


def test_leading_axes_are_images(photo):
    batch = np.stack([photo, photo[::-1]])[None]
    moved = warp(batch, MATRICES["shift"])
    assert moved.shape == batch.shape
    np.testing.assert_array_equal(moved[0, 1], warp(batch[0, 1], MATRICES["shift"]))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda image: ji.warp(image, jnp.eye(2)), r"\(3, 3\)"),
        (
            lambda image: ji.warp(image, jnp.eye(3), interpolation="cubic"),
            "must be 'nearest' or 'bil",
        ),
        (lambda image: ji.warp(image, jnp.eye(3), fill=0.5), "fill=0.5"),
        (lambda image: ji.warp(image[0], jnp.eye(3)), "shape"),
        (lambda image: ji.affine(image, scale=0.0), "scale is 0.0"),
    ],
)
def test_bad_input(photo, operation, message):
    with pytest.raises(ValueError, match=message):
        operation(photo)
