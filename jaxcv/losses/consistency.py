"""Losses that compare predictions with predictions: of other views, or of a teacher."""

import math

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_positive
from jaxcv.losses.arguments import as_float, check_same_shape, check_scores
from jaxcv.losses.surprisal import surprise_of_classes


def jensen_shannon_consistency(logits: jax.Array) -> jax.Array:
    """Jensen-Shannon divergence among the predictions for several views of each image.

        loss = 1/M sum_m D(p_m || mean of all p),    p_m = softmax(z_m)

    AugMix (Hendrycks et al. 2019, arXiv:1912.02781, section 3) adds 12 times this, over one clean
    and two augmented views, to the cross-entropy of the clean view. 0 where all views agree, and at
    most log M.

    Args:
      logits: [M, ..., C] floating, the views first.

    Returns:
      [...] float32.

    Raises:
      ValueError: if there is no axis of views.

    Example:
      >>> jensen_shannon_consistency(jnp.array([[40.0, 0.0], [0.0, 40.0]]))  # log 2
      Array(0.6931472, dtype=float32)
    """
    check_scores("logits", logits)
    if jnp.ndim(logits) < 2:
        raise ValueError(
            f"logits have shape {list(jnp.shape(logits))}, but [M, ..., C] is wanted: the views of "
            "an image, stacked."
        )
    log_p = -surprise_of_classes(logits, masked=1e30)
    p = jnp.exp(log_p)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - math.log(log_p.shape[0])
    return jnp.sum(jnp.mean(p * (log_p - log_mean), axis=0), axis=-1)


def distillation_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531): T^2 D(teacher_T || student_T).

    Both are softened, softmax(z / T). The factor T^2 keeps the gradient's size independent of T; it
    is T (student_T - teacher_T). No gradient flows into the teacher. Usually taken in a sum with
    the cross-entropy of the labels.

    Args:
      student_logits: [..., C] floating.
      teacher_logits: [..., C] floating.
      temperature: T > 0; Hinton's experiments take 2 to 20.

    Returns:
      [...] float32, 0 where the two agree.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_scores("student_logits", student_logits)
    check_same_shape("teacher_logits", teacher_logits, "student_logits", student_logits)
    check_positive("temperature", temperature)
    teacher = jax.lax.stop_gradient(as_float(teacher_logits)) / temperature
    student = surprise_of_classes(as_float(student_logits) / temperature, masked=jnp.inf)
    surprisal = surprise_of_classes(teacher, masked=jnp.inf)
    p = jnp.exp(-surprisal)
    # A class that the teacher rules out costs nothing, whatever the student says.
    terms = p * jnp.where(p == 0, 0.0, student - surprisal)
    return temperature**2 * jnp.sum(terms, axis=-1)
