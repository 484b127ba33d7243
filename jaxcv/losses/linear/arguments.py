"""Checks of arguments shared by the linear losses."""

from typing import Any, get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice
from jaxcv.losses.arguments import check_shape, is_integer
from jaxcv.losses.linear.plan import Implementation, Plan


def check_linear(
    embeddings: Any, classifier: Any, labels: Any | None = None, bias: Any | None = None
) -> None:
    """Raises ValueError unless embeddings [N, D], classifier [C, D], labels [N], bias [C] agree.

    The classifier may be [C, K, D], with K centres a class.
    """
    check_shape("embeddings", embeddings, ("N", "D"))
    rows, width = jnp.shape(embeddings)
    centres = ("K",) if jnp.ndim(classifier) == 3 else ()
    check_shape("classifier", classifier, ("C", *centres, width))
    classes = jnp.shape(classifier)[0]
    if 0 in jnp.shape(classifier)[:-1]:
        found = ", ".join(map(str, jnp.shape(classifier)))
        raise ValueError(f"classifier has shape [{found}], but at least one class is wanted.")
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


def check_implementation(plan: Plan, classifier: Any) -> None:
    """Raises ValueError for an unknown one, and for what a kernel or this machine does not do."""
    name = plan.implementation
    check_choice("implementation", name, get_args(Implementation))
    if name == "portable":
        return
    machine, backend = name.removeprefix("pallas_"), jax.default_backend()
    dtypes = ("float32", "bfloat16", "float16")[: 3 if machine == "gpu" else 2]
    lacking = None
    if backend not in ("cpu", machine):
        lacking = f"runs on a {machine} or, interpreted, on a cpu, but the backend is {backend}"
    elif classifier.ndim == 3:
        lacking = f"has one centre a class, but the classifier has {classifier.shape[1]}"
    elif plan.reshapes:
        lacking = f"multiplies cosines, but {type(plan.margin).__name__} reshapes other classes"
    elif plan.dtype not in dtypes:
        lacking = f"computes in {' or '.join(dtypes)}, but the wider dtype here is {plan.dtype}"
    if lacking is not None:
        raise ValueError(f"implementation {name!r} {lacking}: use implementation='portable'.")


def is_static(value: Any, wanted: float) -> bool:
    """Whether `value` is known when tracing, and equal to `wanted`."""
    return not isinstance(value, jax.core.Tracer) and jnp.ndim(value) == 0 and value == wanted
