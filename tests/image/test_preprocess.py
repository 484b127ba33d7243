import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji


def test_normalize_known_values():
    image = np.asarray([0, 255, 51], np.uint8).reshape(1, 1, 3)
    np.testing.assert_allclose(ji.Normalize()(image)[0, 0], [-1, 1, -0.6], atol=1e-6)
    each = ji.Normalize(mean=(0.0, 0.5, 0.1), std=(1.0, 0.25, 0.1))
    np.testing.assert_allclose(each(image)[0, 0], [0, 2, 1], atol=1e-5)
    np.testing.assert_allclose(each(ji.to_float(image))[0, 0], [0, 2, 1], atol=1e-5)


def test_normalize_gives_imagenet_mean_zero():
    image = jnp.broadcast_to(jnp.asarray(ji.IMAGENET_MEAN), (2, 4, 4, 3))
    normalized = ji.Normalize(ji.IMAGENET_MEAN, ji.IMAGENET_STD)(image)
    np.testing.assert_allclose(normalized, np.zeros((2, 4, 4, 3)), atol=1e-6)


def test_normalize_keeps_floating_dtypes():
    assert ji.Normalize()(jnp.zeros((2, 2, 1), jnp.bfloat16)).dtype == jnp.bfloat16
    assert ji.Normalize()(jnp.zeros((2, 2, 1), jnp.uint8)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("size", "expected"), [(20, (20, 28)), (80, (80, 112)), (15, (15, 21)), ((9, 8), (9, 8))]
)
def test_resize_by_the_shorter_side(photo, size, expected):
    assert jax.eval_shape(ji.Resize(size), photo).shape == (*expected, 3)
    turned = jax.eval_shape(ji.Resize(size), photo.transpose(1, 0, 2))
    assert turned.shape[:2] == (expected if isinstance(size, tuple) else expected[::-1])


def test_resize_and_center_crop_are_the_functions(photo):
    batch = np.stack([photo, photo[::-1]])
    np.testing.assert_array_equal(ji.CenterCrop((30, 20))(batch), batch[:, 5:35, 18:38])
    halved = ji.Resize((20, 28), method="nearest")(batch)
    np.testing.assert_array_equal(halved, batch[:, 1::2, 1::2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image: ji.Normalize(mean=(0.5, 0.5))(image), "as many values"),
        (lambda image: ji.Normalize(mean=(0.5, 0.5), std=(1.0, 1.0))(image), "2 means"),
        (lambda image: ji.Normalize(std=(0.0,)), "positive"),
        (lambda image: ji.Resize(0), "size=0"),
        (lambda image: ji.Resize(method="cubic"), "bicubic"),
        (lambda image: ji.CenterCrop(41)(image), "41 x 41"),
    ],
)
def test_bad_input(photo, make, message):
    with pytest.raises(ValueError, match=message):
        make(photo)
