"""Penalties on a pytree: by hand, with masks, beside optax's weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.losses import l1_penalty, l2_penalty

PARAMS = {
    "dense": {"kernel": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "bias": jnp.array([-4.0, 0.5])},
    "scale": jnp.array([10.0]),
}


def test_known_values():
    assert l1_penalty(PARAMS) == 1 + 2 + 3 + 4 + 0.5 + 10
    assert l2_penalty(PARAMS) == (1 + 4 + 9 + 16 + 0.25 + 100) / 2
    assert l1_penalty({}) == 0


def test_gradients_are_sign_and_weight():
    sign = jax.grad(l1_penalty)(PARAMS)
    np.testing.assert_array_equal(sign["dense"]["kernel"], [[1, -1], [0, 1]])
    itself = jax.grad(l2_penalty)(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, itself, PARAMS)


def test_masks_by_leaf_and_by_prefix():
    kernels = jax.tree.map(lambda w: w.ndim > 1, PARAMS)
    assert l1_penalty(PARAMS, kernels) == 6
    assert l1_penalty(PARAMS, {"dense": True, "scale": False}) == 10.5
    assert l2_penalty(PARAMS, False) == 0
    gradient = jax.jit(jax.grad(lambda params: l1_penalty(params, kernels)))(PARAMS)
    np.testing.assert_array_equal(gradient["dense"]["bias"], [0, 0])


def test_l2_under_sgd_is_the_weight_decay_of_optax():
    mask = jax.tree.map(lambda w: w.ndim > 1, PARAMS)
    ours = jax.grad(lambda params: 0.1 * l2_penalty(params, mask))(PARAMS)
    decay = optax.add_decayed_weights(0.1, mask)
    theirs, _ = decay.update(jax.tree.map(jnp.zeros_like, PARAMS), decay.init(PARAMS), PARAMS)
    jax.tree.map(np.testing.assert_allclose, ours, theirs)


def test_half_precision_is_summed_in_float32():
    many = {"w": jnp.ones(4096, jnp.bfloat16)}
    assert l1_penalty(many) == 4096
    assert l2_penalty(many).dtype == jnp.float32
    assert jax.grad(l2_penalty)(many)["w"].dtype == jnp.bfloat16


def test_bad_masks_are_named():
    with pytest.raises(ValueError, match="mask has structure"):
        l1_penalty(PARAMS, {"dense": True})
    with pytest.raises(ValueError, match=r"found a float, 1\.0"):
        l1_penalty(PARAMS, {"dense": 1.0, "scale": True})
