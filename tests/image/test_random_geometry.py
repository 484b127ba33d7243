import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

SIZE = (40, 56)
KEYS = jax.random.split(jax.random.key(5), 4)

GEOMETRIC = [
    ji.RandomCrop(size=(24, 32), padding=6, fill=0.2),
    ji.RandomResizedCrop(size=(24, 32), scale=(0.2, 1.0), antialias=False),
    ji.RandomHorizontalFlip(),
    ji.RandomVerticalFlip(),
    ji.RandomTranslation(fraction=(0.2, 0.3), fill=0.2),
    ji.RandomRotation(degrees=90.0, fill=0.2),
    ji.RandomAffine(degrees=20.0, shear=(10.0, 5.0), scale=(0.7, 1.4), fill=0.2),
]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda t: type(t).__name__)
def test_image_follows_the_matrix(photo, transform):
    """The call, which takes short cuts, gives what `warp` gives; and points move with the image."""
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    # Four channels: the photo in grey, each pixel's own x and y, and ones.
    image = np.stack([photo.mean(-1) / 255, x / 56, y / 40, np.ones(SIZE)], -1).astype(np.float32)

    def both(key, image):
        matrix, size = transform.matrix(key, SIZE), transform.output_size(SIZE)
        fill = getattr(transform, "fill", 0.0)
        return transform(key, image), ji.warp(image, matrix, size, fill=fill), matrix

    called, warped, matrices = jax.jit(jax.vmap(both, (0, None)))(KEYS, image)
    np.testing.assert_allclose(called, warped, atol=1e-4)
    # The output pixel at (column, row) shows the input point that the matrix takes there.
    height, width = transform.output_size(SIZE)
    row, column = height // 2, width // 2
    for result, matrix in zip(np.asarray(called), np.asarray(matrices), strict=True):
        at = matrix @ [result[row, column, 1] * 56, result[row, column, 2] * 40, 1.0]
        np.testing.assert_allclose(at[:2], [column + 0.5, row + 0.5], atol=0.05)


@pytest.mark.parametrize("flip", [ji.RandomHorizontalFlip, ji.RandomVerticalFlip])
def test_flip_with_probability_0_and_1(photo, flip):
    flipped = ji.flip_horizontal if flip is ji.RandomHorizontalFlip else ji.flip_vertical
    for key in KEYS:
        np.testing.assert_array_equal(flip(0.0)(key, photo), photo)
        np.testing.assert_array_equal(flip(1.0)(key, photo), flipped(photo))


def test_flip_with_probability_between():
    keys = jax.random.split(jax.random.key(0), 2000)
    image = jnp.asarray([1.0, 0.0]).reshape(1, 2, 1)
    first = jax.jit(jax.vmap(lambda key: ji.RandomHorizontalFlip(0.3)(key, image)[0, 1, 0]))(keys)
    assert abs(float(jnp.mean(first)) - 0.3) < 0.04  # four standard errors


def test_translations_reach_every_place_and_no_other():
    transform = ji.RandomTranslation(fraction=(0.5, 0.25))
    keys = jax.random.split(jax.random.key(0), 500)
    matrices = np.asarray(jax.jit(jax.vmap(lambda key: transform.matrix(key, (8, 6))))(keys))
    assert sorted(set(matrices[:, 0, 2])) == [-3, -2, -1, 0, 1, 2, 3]
    assert sorted(set(matrices[:, 1, 2])) == [-2, -1, 0, 1, 2]


def test_parameters_that_leave_the_image_alone(photo):
    still = [
        ji.RandomRotation(degrees=0.0),
        ji.RandomAffine(degrees=0.0, translation=(0.0, 0.0), scale=(1.0, 1.0)),
        ji.RandomTranslation(fraction=(0.0, 0.0)),
    ]
    results = jax.jit(lambda image: [transform(KEYS[0], image) for transform in still])(photo)
    for result in results:
        np.testing.assert_array_equal(result, photo)


def test_affine_draws_stay_in_their_ranges():
    transform = ji.RandomAffine(
        degrees=0.0, translation=(0.1, 0.2), scale=(0.5, 2.0), shear=(0.0, 0.0)
    )
    keys = jax.random.split(jax.random.key(0), 500)
    matrices = np.asarray(jax.jit(jax.vmap(lambda key: transform.matrix(key, SIZE)))(keys))
    scale = matrices[:, 0, 0]
    assert 0.5 <= scale.min() < 0.53
    assert 1.9 < scale.max() <= 2.0
    assert abs(np.median(scale) - 1.0) < 0.1  # log-uniform
    centers = matrices @ [28.0, 20.0, 1.0]
    np.testing.assert_allclose(np.abs(centers[:, 0] - 28).max(), 5.6, rtol=0.02)
    np.testing.assert_allclose(np.abs(centers[:, 1] - 20).max(), 8.0, rtol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.RandomHorizontalFlip(1.5), "probability is 1.5"),
        (lambda: ji.RandomVerticalFlip(-0.5), "probability is -0.5"),
        (lambda: ji.RandomRotation(degrees=-1.0), "degrees is -1.0"),
        (lambda: ji.RandomRotation(interpolation="cubic"), "must be 'nearest' or 'bilinear'"),
        (lambda: ji.RandomRotation(fill=128), "128 of 255"),
        (lambda: ji.RandomTranslation(fraction=(0.1, 1.2)), "fraction is 1.2"),
        (lambda: ji.RandomTranslation(fraction=(0.1,)), "two numbers"),
        (lambda: ji.RandomAffine(scale=(0.0, 1.0)), "scale"),
        (lambda: ji.RandomAffine(scale=(2.0, 1.0)), "smallest, largest"),
        (lambda: ji.RandomAffine(shear=(0.0, 90.0)), "shear is 90.0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
