"""Gradients beside central differences in float64: what the tests of every loss fraction."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.losses.compilation import quick_jit


def check_gradient(function, point, *, step=1e-5, tolerance=1e-7, second=False):
    """Asserts that reverse- and forward-mode gradients of sum(function(x)) are its differences.

    `function` takes one array and returns an array; it is evaluated in float64 at `point` and at
    every +-step along every coordinate. With `second`, the same for the gradient's own derivative,
    along one fixed direction.
    """
    with jax.enable_x64(True):
        point = jnp.asarray(point, jnp.float64)

        def total(x):
            return jnp.sum(function(x))

        gradient = jax.grad(total)
        direction = jnp.asarray(np.cos(1.0 + np.arange(point.size)).reshape(point.shape))

        @quick_jit
        def derivatives(x):
            reverse = gradient(x)
            forward = jax.jvp(total, (x,), (direction,))[1]
            curved = jax.jvp(gradient, (x,), (direction,))[1] if second else reverse
            return reverse, forward, curved

        reverse, forward, curved = derivatives(point)
        steps = step * np.eye(point.size).reshape(point.size, *point.shape)
        both = quick_jit(jax.vmap(total))(point + np.concatenate([steps, -steps]))
        differences = ((both[: point.size] - both[point.size :]) / (2 * step)).reshape(point.shape)
        scale = 1.0 + np.abs(differences).max()
        np.testing.assert_allclose(reverse, differences, atol=tolerance * scale, rtol=0)
        np.testing.assert_allclose(forward, np.sum(reverse * direction), rtol=1e-9, atol=1e-9)
        if second:
            ahead = derivatives(point + step * direction)[0]
            behind = derivatives(point - step * direction)[0]
            differences = (ahead - behind) / (2 * step)
            scale = 1.0 + np.abs(differences).max()
            np.testing.assert_allclose(curved, differences, atol=tolerance * scale, rtol=0)
