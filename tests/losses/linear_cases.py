"""What the tests of the linear losses share: a batch, and the dense computation in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.losses import linear_softmax_cross_entropy


def batch(rows, classes, width, seed=0):
    """Embeddings [N, D], classifier [C, D], labels [N] that repeat, bias and weights [C]."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(rows, width)), rng.normal(size=(classes, width))
    labels = rng.integers(0, classes, rows).astype(np.int32)
    labels[rows // 2 :: 3] = labels[0]
    arrays = x, w, rng.normal(size=classes), rng.uniform(0.5, 2, classes)
    x, w, bias, weights = (a.astype(np.float32) for a in arrays)
    return x, w, labels, bias, weights


def dense(x, w, labels, bias, scale, temperature, weights, *, a, ignore, z_loss, normalize):
    """loss, log_sum_exp, target_logit by their formulas from all logits at once; NumPy's rules."""
    if normalize:
        x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        w = w / jnp.linalg.norm(w, axis=1, keepdims=True)
    z = (scale * x @ w.T + bias) / temperature
    lse = jax.scipy.special.logsumexp(z, axis=1)
    one_hot = labels[:, None] == np.arange(len(w))
    q = (1 - a) * one_hot + a / len(w)
    loss = jnp.sum(weights * q * (lse[:, None] - z), axis=1) + z_loss * lse**2
    target = jnp.sum(jnp.where(one_hot, z, 0), axis=1)
    keep = labels != ignore
    return tuple(jnp.where(keep, value, 0) for value in (loss, lse, target))


SETTINGS = {
    "plain": {},
    "bias": {"bias": True, "scale": 1.5, "temperature": 0.7},
    "everything": {
        "bias": True,
        "weights": True,
        "a": 0.1,
        "ignore": 2,
        "z_loss": 1e-2,
        "scale": 2.0,
        "temperature": 1.3,
    },
    "cosine": {"normalize": True, "scale": 20.0, "a": 0.2, "z_loss": 1e-3},
    "cosine, bias": {"normalize": True, "scale": 5.0, "bias": True, "weights": True, "ignore": 2},
}


def derivatives(name, shape, block, dtype="float32", jit=jax.jit, **options):
    """(values, gradients) of both: fused in `dtype`, dense in float64, under one random cotangent.

    Values are loss, log_sum_exp and target_logit; gradients those to embeddings, classifier, bias,
    scale and temperature of their weighted sum, with a weight of its own for each value of each
    row.
    """
    setting = {
        "a": 0.0,
        "ignore": -1,
        "z_loss": 0.0,
        "normalize": False,
        "scale": 1.0,
        "temperature": 1.0,
    }
    setting |= SETTINGS[name]
    x, w, labels, bias, weights = batch(*shape)
    with_bias, with_weights = setting.pop("bias", False), setting.pop("weights", False)
    scale, temperature = setting.pop("scale"), setting.pop("temperature")
    cotangents = np.random.default_rng(1).normal(size=(3, len(x)))

    def fused(x, w, bias, scale, temperature):
        result = linear_softmax_cross_entropy(
            x,
            w,
            labels,
            bias=bias if with_bias else None,
            scale=scale,
            temperature=temperature,
            class_weights=weights if with_weights else None,
            label_smoothing=setting["a"],
            ignore_label=setting["ignore"],
            z_loss=setting["z_loss"],
            normalize=setting["normalize"],
            block_size=block,
            **options,
        )
        return result.loss, result.log_sum_exp, result.target_logit

    def reference(x, w, bias, scale, temperature):
        bias = bias if with_bias else jnp.zeros_like(bias)
        each = weights if with_weights else np.ones_like(weights)
        return dense(x, w, labels, bias, scale, temperature, each, **setting)

    def run(function, dtype, jit):
        arguments = [jnp.asarray(v, dtype) for v in (x, w, bias, scale, temperature)]
        weighed = tuple(jnp.asarray(c, dtype) for c in cotangents)

        def both(*arguments):
            values, pull = jax.vjp(function, *arguments)
            return values, pull(weighed)

        return jax.device_get(jit(both)(*arguments))

    with jax.enable_x64(True):
        wanted = run(reference, "float64", jit)
    with jax.enable_x64(dtype == "float64"):
        return run(fused, dtype, jit), wanted


def check_near(found, wanted, tolerance):
    """Asserts equality of trees within a tolerance relative to each array's largest entry."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        scale = 1.0 + np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=tolerance * scale, rtol=0)
