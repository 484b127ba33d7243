"""Variables drawn with NumPy: compiling a model's random initializers takes longer than a test."""

import jax
import jax.numpy as jnp
import numpy as np


def draw_variables(model, *inputs, seed=0, **options):
    """Variables of the shapes that `model.init` gives; scales and variances positive, none 1."""
    shapes = jax.eval_shape(lambda key: model.init(key, *inputs, **options), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        fan = np.prod(leaf.shape[:-1]) if name == "kernel" else 1
        noise = rng.normal(size=leaf.shape) / np.sqrt(fan)
        value = 0.5 + np.abs(noise) if name in ("scale", "var") else noise
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
