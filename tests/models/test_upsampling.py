"""Enlarging features: beside jax.image, beside PyTorch, and how sub-pixel convolutions start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models.segmentation import (
    LogitHead,
    Upsample,
    pixel_shuffle,
    upsample_bilinear,
    upsample_nearest,
)
from jaxcv.models.segmentation.pspnet import pooled

RNG = np.random.default_rng(0)


CASES = [((5, 4), 2), ((3, 1), 3), ((2, 3), 4), ((1, 2), 8)]


def test_bilinear_and_its_gradient_are_those_of_jax_image():
    inputs = [jnp.asarray(RNG.normal(size=(2, *size, 3)), jnp.float32) for size, _ in CASES]
    sizes = [(2, factor * size[0], factor * size[1], 3) for size, factor in CASES]
    targets = [jnp.asarray(RNG.normal(size=size), jnp.float32) for size in sizes]

    @jax.jit
    def both(inputs):
        """Values and gradients of all cases in one compilation."""
        results = []
        for x, (_, factor), size, target in zip(inputs, CASES, sizes, targets):
            ours, backward = jax.vjp(lambda x, f=factor: upsample_bilinear(x, f), x)
            wanted, wanted_backward = jax.vjp(
                lambda x, s=size: jax.image.resize(x, s, "bilinear"), x
            )
            results.append((ours, wanted, backward(target)[0], wanted_backward(target)[0]))
        return results

    for ours, wanted, gradient, wanted_gradient in both(inputs):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)
        np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-5)


def test_bilinear_works_under_vmap_and_keeps_its_dtype():
    x = jnp.asarray(RNG.normal(size=(2, 1, 3, 3, 2)), jnp.bfloat16)

    @jax.jit
    @jax.vmap
    @jax.grad
    def gradient(x):
        return jnp.sum(upsample_bilinear(x, 2).astype(jnp.float32))

    assert gradient(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(gradient(x), np.float32), 4.0)


def test_nearest_repeats():
    x = jnp.asarray(RNG.normal(size=(2, 3, 2, 2)), jnp.float32)
    wanted = np.repeat(np.repeat(np.asarray(x), 3, axis=1), 3, axis=2)
    np.testing.assert_array_equal(upsample_nearest(x, 3), wanted)


def test_pixel_shuffle_is_pytorchs_up_to_the_order_of_channels():
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(2, 3, 4, 5, 2, 2)).astype(np.float32)  # B, H, W, C, row, column
    theirs = torch.pixel_shuffle(
        torch.tensor(x.reshape(2, 3, 4, 20).transpose(0, 3, 1, 2).copy()), 2
    )
    ours = pixel_shuffle(jnp.asarray(x.transpose(0, 1, 2, 4, 5, 3).reshape(2, 3, 4, 20)), 2)
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(0, 2, 3, 1))


def test_a_subpixel_convolution_starts_as_a_repetition():
    x = jnp.asarray(RNG.normal(size=(1, 3, 2, 4)), jnp.float32)
    layer = Upsample(5, 2, method="subpixel")
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert variables["params"]["projection"]["kernel"].shape == (1, 1, 4, 20)
    np.testing.assert_allclose(y, upsample_nearest(y[:, ::2, ::2], 2), atol=1e-6)
    assert float(jnp.std(y)) > 0.1
    with pytest.raises(ValueError, match="upsampling is 'transposed'"):
        Upsample(5, 2, method="transposed").init(jax.random.key(0), x)


def test_projecting_first_makes_no_difference():
    x = jnp.asarray(RNG.normal(size=(1, 3, 2, 4)), jnp.float32)
    layer = Upsample(5, 2)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    kernel = variables["params"]["projection"]["kernel"][0, 0]
    np.testing.assert_allclose(y, upsample_bilinear(x, 2) @ kernel, atol=1e-5)


def test_logits_are_float32_of_any_size_and_dropout_is_for_training():
    x = jnp.asarray(RNG.normal(size=(1, 3, 2, 64)), jnp.bfloat16)
    head = LogitHead(2, stride=4, dropout=0.5)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    logits, variables = head.init_with_output(keys, x, (10, 7), train=False)
    assert (logits.shape, logits.dtype) == ((1, 10, 7, 2), jnp.float32)
    dropped = head.apply(variables, x, (10, 7), train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(logits, dropped)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_pooling_is_pytorchs_adaptive_pooling(parts):
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(2, 7, 10, 3)).astype(np.float32)
    theirs = torch.nn.functional.adaptive_avg_pool2d(
        torch.tensor(x.transpose(0, 3, 1, 2).copy()), parts
    )
    np.testing.assert_allclose(
        pooled(jnp.asarray(x), parts), theirs.numpy().transpose(0, 2, 3, 1), atol=1e-6
    )
