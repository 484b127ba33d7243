"""Alignment by landmarks: the similarity that takes points to a template, and faces brought to one.

Points are (x, y) in pixels in the convention of `warping`: (0, 0) is the outer corner of the first
pixel and (1/2, 1/2) its centre. OpenCV, and the detectors and templates of InsightFace and MTCNN,
count from the *centre* of the first pixel instead: add 0.5 to each of their coordinates. In this
convention a template for another image size is the template times the ratio of the sizes.

Five landmarks of a face have the order: eye, eye, nose tip, mouth corner, mouth corner, of each
pair the one further to the left in an upright image first (which is the person's right).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcv.image.warping import Interpolation, warp

_TEMPLATE_SIZE = 112

FACE_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
) + np.float32(0.5)
"""Five landmarks [5, 2] of a face in an image of 112x112, in this module's convention.

InsightFace's template for ArcFace (Deng et al. 2019), which models trained on MS1MV2, MS1MV3 and
Glint360K expect: that of SphereFace (Liu et al. 2017) for 96x112, moved right by 8 pixels; and by
half a pixel both ways, since theirs count from pixel centres.
"""
FACE_TEMPLATE.setflags(write=False)


def face_template(size: int = _TEMPLATE_SIZE) -> np.ndarray:
    """Returns `FACE_TEMPLATE` for an image of `size` x `size`, float32 [5, 2].

    Raises:
      ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"an aligned face has at least 1 pixel a side, but size is {size}")
    return FACE_TEMPLATE * np.float32(size / _TEMPLATE_SIZE)


def similarity_matrix(
    points: ArrayLike, template: ArrayLike, weights: ArrayLike | None = None
) -> jax.Array:
    """Returns the rotation, scale and shift that take `points` nearest to `template`.

    It minimizes sum_k w_k |s R p_k + t - q_k|^2 over scales s >= 0, rotations R (no reflection) and
    shifts t: Umeyama 1991, equations 40 to 42, for the plane. There s R is the multiplication by a
    complex number, so that the problem is a linear regression in one complex unknown, with the
    solution (p and q less their weighted means, as complex numbers)

        s e^(i angle) = sum_k w_k conj(p_k) q_k / sum_k w_k |p_k|^2

    and no singular value decomposition is needed; gradients are finite everywhere.

    Args:
      points: [..., K, 2] floating, K >= 2.
      template: [K, 2] or [..., K, 2].
      weights: [K] or [..., K], not negative, or bool for a mask; None weighs all alike. A point of
        weight 0 may hold anything, NaN too.

    Returns:
      [..., 3, 3] float32, as `warp` takes it. Where all points (of positive weight) coincide, the
      angle and scale are unknown: it then only shifts; with no point at all it is the identity.

    Raises:
      ValueError: shapes that do not fit, or fewer than two points.

    Example:
      >>> square = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
      >>> turned = 2 * square @ jnp.array([[0.0, 1.0], [-1.0, 0.0]]) + 3
      >>> similarity_matrix(square, turned).tolist()
      [[0.0, -2.0, 3.0], [2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]
    """
    p, q = jnp.asarray(points, jnp.float32), jnp.asarray(template, jnp.float32)
    if p.ndim < 2 or p.shape[-1] != 2 or q.shape[-2:] != p.shape[-2:] or p.shape[-2] < 2:
        raise ValueError(
            "an alignment needs points [..., K, 2] and a template [K, 2] of the same K >= 2, but "
            f"got shapes {p.shape} and {q.shape}"
        )
    w = jnp.ones(p.shape[-2:-1]) if weights is None else jnp.asarray(weights, jnp.float32)
    if w.shape[-1:] != p.shape[-2:-1]:
        raise ValueError(
            f"{p.shape[-2]} points need as many weights, but the weights have shape {w.shape}"
        )
    w = w[..., None]
    p, q = jnp.where(w > 0, p, 0.0), jnp.where(w > 0, q, 0.0)
    # Sums, not matrix products, which a TPU would round to bfloat16.
    total = jnp.sum(w, axis=-2)
    fraction = w / jnp.where(total > 0, total, 1.0)[..., None]
    p_mean, q_mean = jnp.sum(fraction * p, axis=-2), jnp.sum(fraction * q, axis=-2)
    from_mean, target = p - p_mean[..., None, :], q - q_mean[..., None, :]
    spread = jnp.sum(fraction * jnp.square(from_mean), axis=(-2, -1))
    # Points nearer to each other than float32 tells apart have no direction.
    usable = spread > 1e-10 * jnp.sum(fraction * jnp.square(p), axis=(-2, -1))
    divisor = jnp.where(usable, spread, 1.0)
    along = jnp.sum(fraction * from_mean * target, axis=(-2, -1)) / divisor
    across = fraction[..., 0] * (
        from_mean[..., 0] * target[..., 1] - from_mean[..., 1] * target[..., 0]
    )
    cos = jnp.where(usable, along, 1.0)
    sin = jnp.where(usable, jnp.sum(across, axis=-1) / divisor, 0.0)
    x = q_mean[..., 0] - (cos * p_mean[..., 0] - sin * p_mean[..., 1])
    y = q_mean[..., 1] - (sin * p_mean[..., 0] + cos * p_mean[..., 1])
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    entries = jnp.stack([cos, -sin, x, sin, cos, y, zero, zero, one], axis=-1)
    return entries.reshape(*entries.shape[:-1], 3, 3)


def align_face(
    image: ArrayLike,
    points: ArrayLike,
    size: int = _TEMPLATE_SIZE,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the face turned, scaled and shifted so that its landmarks lie on the template.

    For a batch, `jax.vmap(align_face)(images, points)`. Bilinear interpolation looks at four pixels
    and skips others where a face is made more than twice smaller: reduce such an image first, as
    `jaxcv.faces.aligned_face` does.

    Args:
      image: `[..., H, W, C]` of any dtype.
      points: [5, 2], the landmarks of the face in it, see the head of this module.
      size: height and width of the result; 112 is what published models take.
      interpolation: as for `warp`.
      fill: as for `warp`: what lies outside the image.

    Returns:
      `[..., size, size, C]` in the dtype of `image`.

    Raises:
      ValueError: points that are not [5, 2], a size below 1, and as `warp` does.
    """
    if jnp.shape(points) != (5, 2):
        raise ValueError(
            f"align_face takes the five landmarks [5, 2] of one face, but got {jnp.shape(points)}"
        )
    matrix = similarity_matrix(points, face_template(size))
    return warp(image, matrix, (size, size), interpolation=interpolation, fill=fill)
