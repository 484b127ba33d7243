"""Checks of arguments shared by the linear losses."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import check_shape, is_integer


def check_linear(
    embeddings: Any, classifier: Any, labels: Any | None = None, bias: Any | None = None
) -> None:
    """Raises ValueError unless embeddings [N, D], classifier [C, D], labels [N], bias [C] agree."""
    check_shape("embeddings", embeddings, ("N", "D"))
    rows, width = jnp.shape(embeddings)
    check_shape("classifier", classifier, ("C", width))
    classes = jnp.shape(classifier)[0]
    if classes == 0:
        raise ValueError(f"classifier has shape [0, {width}], but at least one class is wanted.")
    for name, array in (("embeddings", embeddings), ("classifier", classifier), ("bias", bias)):
        if array is not None and not jnp.issubdtype(jnp.result_type(array), jnp.floating):
            raise ValueError(
                f"{name} has dtype {jnp.result_type(array)}, but a floating dtype is wanted."
            )
    if bias is not None:
        check_shape("bias", bias, (classes,))
    if labels is None:
        return
    if not is_integer(labels):
        raise ValueError(
            f"labels have dtype {jnp.result_type(labels)}, but integers of shape [{rows}] are "
            "wanted: one class index per row."
        )
    check_shape("labels", labels, (rows,))


def check_block_size(block_size: Any) -> None:
    """Raises ValueError unless None or a whole number >= 1."""
    if block_size is None:
        return
    if not isinstance(block_size, int) or isinstance(block_size, bool) or block_size < 1:
        raise ValueError(
            f"block_size is {block_size!r}, but a whole number >= 1 or None is wanted."
        )


def is_static(value: Any, wanted: float) -> bool:
    """Whether `value` is known when tracing, and equal to `wanted`."""
    return not isinstance(value, jax.core.Tracer) and jnp.ndim(value) == 0 and value == wanted
