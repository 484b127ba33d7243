"""Umeyama's similarity beside an SVD in float64, and faces on the template."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji
from jaxcv.image import alignment

similarity = jax.jit(jax.vmap(ji.similarity_matrix, in_axes=(0, None)))
weighted = jax.jit(ji.similarity_matrix)
# Where the eyes, nose and mouth are in the picture `face_like` draws, (x, y) from the corner.
LANDMARKS = np.array([[50.5, 60.5], [90.5, 52.5], [75.5, 80.5], [62.5, 104.5], [96.5, 98.5]])


def umeyama(points, template, weights=None):
    """Umeyama 1991, equations 34 to 43, by SVD in float64."""
    w = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    p, q = np.asarray(points, np.float64), np.asarray(template, np.float64)
    p_mean, q_mean = w @ p, w @ q
    p, q = p - p_mean, q - q_mean
    u, d, vt = np.linalg.svd((w[:, None] * q).T @ p)
    s = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(s) @ vt
    scale = (d * s).sum() / (w @ (p**2).sum(1))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * rotation
    matrix[:2, 2] = q_mean - scale * rotation @ p_mean
    return matrix


def draw(count, seed=0):
    """Faces of all sizes and angles anywhere in a photo, with noise; some of them mirrored."""
    rng = np.random.default_rng(seed)
    angle, size = rng.uniform(-np.pi, np.pi, count), 10 ** rng.uniform(-1, 1.3, count)
    turn = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.einsum("ijn,n,kj->nki", turn, size, ji.FACE_TEMPLATE - 56)
    points[::4, :, 0] *= -1
    points *= 1 + 0.1 * rng.normal(size=points.shape)
    return (points + rng.uniform(0, 3000, (count, 1, 2))).astype(np.float32)


def test_the_similarity_is_that_of_the_singular_value_decomposition():
    points = draw(200)
    found = np.asarray(similarity(points, ji.FACE_TEMPLATE), np.float64)
    for matrix, p in zip(found, points):
        wanted = umeyama(p, ji.FACE_TEMPLATE)
        # Compared where it matters, at the points, in pixels of the output.
        p = np.c_[p, np.ones(5)]
        np.testing.assert_allclose(p @ matrix.T, p @ wanted.T, atol=2e-2)
        assert matrix[0, 0] == matrix[1, 1]
        assert matrix[0, 1] == -matrix[1, 0]


def test_weights_weigh_and_a_mask_leaves_out():
    points = draw(1)[0]
    w = np.array([1.0, 2.0, 0.5, 3.0, 0.0])
    wanted = umeyama(points[:4], ji.FACE_TEMPLATE[:4], w[:4])
    dirty = np.where(w[:, None] > 0, points, np.nan)
    np.testing.assert_allclose(weighted(dirty, ji.FACE_TEMPLATE, w), wanted, rtol=1e-3, atol=2e-2)
    eyes = weighted(dirty, ji.FACE_TEMPLATE, np.array([1.0, 1.0, 0.0, 0.0, 0.0]))
    # Two points determine a similarity: they are hit.
    hit = np.c_[points[:2], np.ones(2)] @ np.asarray(eyes).T
    np.testing.assert_allclose(hit[:, :2], ji.FACE_TEMPLATE[:2], atol=1e-2)


def test_a_known_similarity_is_found():
    known = ji.compose(
        ji.rotation_matrix(30.0), ji.scaling_matrix(0.25, 0.25), ji.translation_matrix(-20, 40)
    )
    corners = jnp.concatenate([LANDMARKS, jnp.ones((5, 1))], axis=1)
    found = weighted(LANDMARKS, (corners @ known.T)[:, :2], np.ones(5))
    np.testing.assert_allclose(found, known, atol=1e-4)


@pytest.mark.parametrize(
    ("points", "weights", "linear"),
    [
        (np.full((5, 2), 1234.5), np.ones(5), np.eye(2)),
        (np.zeros((5, 2)), np.ones(5), np.eye(2)),
        (LANDMARKS, np.zeros(5), np.eye(2)),
        (np.full((5, 2), np.nan), np.zeros(5), np.eye(2)),
        (LANDMARKS, np.array([0.0, 0.0, 1.0, 0.0, 0.0]), np.eye(2)),
    ],
)
def test_degenerate_points_give_a_shift_and_finite_gradients(points, weights, linear):
    matrix = weighted(points, ji.FACE_TEMPLATE, weights)
    np.testing.assert_array_equal(matrix[:2, :2], linear)
    assert np.isfinite(matrix).all()
    gradient = jax.jit(jax.grad(lambda p, w: jnp.sum(ji.similarity_matrix(p, ji.FACE_TEMPLATE, w))))
    assert np.isfinite(gradient(jnp.asarray(points, jnp.float32), weights)).all()


def test_the_gradient_is_the_difference_quotient():
    def f(points):
        return jnp.sum(jnp.sin(ji.similarity_matrix(points, ji.FACE_TEMPLATE)[:2]))

    points, direction = jnp.asarray(LANDMARKS, jnp.float32), draw(1, seed=3)[0] / 1000
    _, slope = jax.jvp(f, (points,), (jnp.asarray(direction),))
    step = 1e-4
    exact = [
        np.sin(umeyama(LANDMARKS + sign * step * direction, ji.FACE_TEMPLATE)[:2]).sum()
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(slope, (exact[0] - exact[1]) / (2 * step), rtol=1e-3)


def face_like():
    """A picture with a smooth spot, a colour of its own, at each landmark."""
    y, x = np.mgrid[:150, :140] + 0.5
    image = np.zeros((150, 140, 5), np.float32)
    for k, (cx, cy) in enumerate(LANDMARKS):
        image[..., k] = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 4.0**2))
    return image


@pytest.mark.parametrize("size", [112, 64])
def test_landmarks_land_on_the_template(size):
    matrix = np.asarray(weighted(LANDMARKS, ji.face_template(size), np.ones(5)))
    wanted = np.c_[LANDMARKS, np.ones(5)] @ matrix.T
    aligned = np.asarray(jax.jit(ji.align_face, static_argnums=2)(face_like(), LANDMARKS, size))
    assert aligned.shape == (size, size, 5)
    y, x = np.mgrid[:size, :size] + 0.5
    for k in range(5):
        spot = aligned[..., k] / aligned[..., k].sum()
        centre = [(x * spot).sum(), (y * spot).sum()]
        np.testing.assert_allclose(centre, wanted[k, :2], atol=0.05)
    # This face has not the template's proportions; its landmarks come as near as they can.
    assert np.abs(wanted[:, :2] - ji.face_template(size)).max() < 6 * size / 112


def test_alignment_equals_the_one_of_opencv_half_a_pixel_apart(photo):
    """cv2.warpAffine with the published template, landmarks counted from pixel centres."""
    cv2 = pytest.importorskip("cv2")
    published = np.array(
        [
            [30.2946, 51.6963],
            [65.5318, 51.5014],
            [48.0252, 71.7366],
            [33.5493, 92.3655],
            [62.7299, 92.2041],
        ]
    )
    published[:, 0] += 8
    centred = (published - 56) * 0.2 + [25, 20]
    centred = centred @ np.array([[0.98, 0.17], [-0.17, 0.98]])
    matrix = umeyama(centred, published)[:2]
    wanted = cv2.warpAffine(photo, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    actual = jax.jit(ji.align_face)(photo, centred + 0.5)
    difference = np.abs(np.asarray(actual).astype(int) - wanted)
    # OpenCV rounds positions to 1/32 of a pixel; at the border it has another rule.
    inner = np.asarray(actual).any(-1)
    assert inner.mean() > 0.5
    assert np.quantile(difference[inner], 0.99) <= 4
    off = np.asarray(jax.jit(ji.align_face)(photo, centred)).astype(int)
    assert np.abs(off - wanted)[inner].mean() > 3 * difference[inner].mean()


def test_the_template_is_the_published_one():
    # SphereFace's for 96x112, to be moved by (112 - 96) / 2; from pixel centres.
    np.testing.assert_allclose(ji.FACE_TEMPLATE[0] - 0.5, [30.2946 + 8, 51.6963], rtol=1e-6)
    np.testing.assert_allclose(ji.FACE_TEMPLATE[4] - 0.5, [62.7299 + 8, 92.2041], rtol=1e-6)
    np.testing.assert_allclose(ji.face_template(56), ji.FACE_TEMPLATE / 2)
    with pytest.raises(ValueError, match="read-only"):
        ji.FACE_TEMPLATE[0] = 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(5, 2\)"):
        ji.similarity_matrix(np.zeros((4, 2)), ji.FACE_TEMPLATE)
    with pytest.raises(ValueError, match="K >= 2"):
        ji.similarity_matrix(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="as many weights"):
        ji.similarity_matrix(LANDMARKS, ji.FACE_TEMPLATE, np.ones(3))
    with pytest.raises(ValueError, match=r"\[5, 2\] of one face, but got \(2, 5, 2\)"):
        ji.align_face(np.zeros((8, 8, 3)), np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match="size is 0"):
        ji.align_face(np.zeros((8, 8, 3)), LANDMARKS, 0)


def test_examples_run():
    result = doctest.testmod(alignment)
    assert result.attempted
    assert not result.failed
