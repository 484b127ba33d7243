"""Averaged views: the weighted mean that NumPy computes, and the model itself in training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import TestTimeAugmentation
from jaxcv.models.test_time_augmentation import shifted


class Template(nn.Module):
    """The exponential of a scalar product with a fixed picture: nothing linear, nothing symmetric."""

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        weights = self.param("weights", nn.initializers.normal(0.1), images.shape[1:])
        score = jnp.exp(jnp.tensordot(images, weights, 3))
        return {"score": score[:, None], "train": jnp.full(len(images), train)}


def draw(rows=3, height=5, width=6):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(rows, height, width, 2)), jnp.float32)


SIX_VIEWS = TestTimeAugmentation(Template(), shifts=((-1, -1), (1, 1)))


def test_six_views_are_weighted_as_described():
    images = draw()
    variables = SIX_VIEWS.init(jax.random.key(0), images)
    weights = np.asarray(variables["params"]["model"]["weights"], np.float64)

    def score(view):
        return np.exp(np.tensordot(view, weights, 3))

    def mirrored_mean(view):
        return (score(view) + score(view[:, :, ::-1])) / 2

    padded = np.pad(np.asarray(images), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    up_left, down_right = padded[:, 2:, 2:], padded[:, :-2, :-2]
    wanted = mirrored_mean(np.asarray(images)) / 2
    wanted += (mirrored_mean(up_left) + mirrored_mean(down_right)) / 4
    found = SIX_VIEWS.apply(variables, images)["score"][:, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_mirror_image_has_the_outputs_of_the_image():
    images, model = draw(), TestTimeAugmentation(Template())
    variables = model.init(jax.random.key(0), images)
    first, second = (model.apply(variables, x)["score"] for x in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(first, second, rtol=1e-6)
    plain = Template().apply({"params": variables["params"]["model"]}, images)["score"]
    assert not np.allclose(first, plain)


def test_in_training_and_without_views_it_is_the_model():
    images = draw()
    variables = SIX_VIEWS.init(jax.random.key(0), images)
    inner = {"params": variables["params"]["model"]}
    trained = SIX_VIEWS.apply(variables, images, train=True)
    assert bool(trained["train"].all())
    plain = Template().apply(inner, images, train=True)
    np.testing.assert_array_equal(trained["score"], plain["score"])
    alone = TestTimeAugmentation(Template(), mirror=False).apply(variables, images)
    np.testing.assert_array_equal(alone["score"], plain["score"])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-3, 0), (0, 4)])
def test_shift_moves_a_pixel_and_mirrors_the_border(down, right):
    image = np.arange(30.0).reshape(1, 5, 6, 1)
    moved = np.asarray(shifted(jnp.asarray(image), down, right))[0, :, :, 0]
    for y in range(5):
        for x in range(6):
            # Reflection about the centre of the border pixel, which is not repeated.
            from_y, from_x = abs(y - down), abs(x - right)
            from_y, from_x = 4 - abs(4 - from_y), 5 - abs(5 - from_x)
            assert moved[y, x] == image[0, from_y, from_x, 0]


def test_impossible_views_are_named():
    images = draw()
    with pytest.raises(ValueError, match=r"\(5, 0\).*5x6"):
        TestTimeAugmentation(Template(), shifts=((5, 0),)).init(jax.random.key(0), images)
    with pytest.raises(ValueError, match=r"shifted_fraction is 1\.5"):
        TestTimeAugmentation(Template(), shifted_fraction=1.5).init(jax.random.key(0), images)
