"""What the tests of margins share: a batch, every margin, its formula in float64, all results."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.losses.margins import (
    AdaCos,
    AdaFace,
    ArcFace,
    CircleMargin,
    CombinedMargin,
    CosFace,
    CurricularFace,
    MagFace,
    MVSoftmax,
    NormFace,
    SphereFace,
    margin_softmax_cross_entropy,
)

B, C, D = 16, 6, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, C, B).astype(np.int32)
CLASSIFIER = RNG.normal(size=(C, D)).astype(np.float32)
EMBEDDINGS = (4 * RNG.normal(size=(B, D)) + 2 * CLASSIFIER[LABELS]).astype(np.float32)
MASK = np.arange(B) % 5 != 3
QUICK = {"xla_backend_optimization_level": 0}  # LLVM would take most of the time otherwise.
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


# References: target logit and other logits from angles in float64; `c0` and `norm0` are cosines and
# norms at the point at which what the margin calls constant is computed.


def shifted(theta, m, beyond):
    moved, cosine = np.cos(theta + m), np.cos(theta)
    if beyond == "easy":
        return np.where(cosine > 0, moved, cosine)
    if beyond == "linear":
        return np.where(theta + m < np.pi, moved, cosine - m * np.sin(m))
    if beyond == "clamp":
        return np.cos(np.clip(theta + m, 0, np.pi))
    return moved


def psi(theta, m):
    k = np.floor(theta * m / np.pi)
    return (-1) ** k * np.cos(m * theta) - 2 * k


def hard(cosines, theta, reshaped, moved):
    return np.where(cosines > moved(theta)[:, None], reshaped, cosines)


def ref_adaface(theta, cosines, norm, c0, norm0):
    norm0 = np.clip(norm0, 0.001, 100)
    mean = 20 + 0.01 * (norm0.mean() - 20)
    std = 100 + 0.01 * (norm0.std(ddof=1) - 100)
    z = np.clip(30 * (norm0 - mean) / (std + 1e-3), -1, 1)
    return 16 * (shifted(theta, -0.4 * z, "clamp") - 0.4 - 0.4 * z), 16 * cosines


def ref_magface(theta, cosines, norm, c0, norm0):
    m = 0.45 + (0.8 - 0.45) / (9 - 3) * (np.clip(norm, 3, 9) - 3)
    return 16 * shifted(theta, m, "easy"), 16 * cosines


def ref_curricular(theta, cosines, norm, c0, norm0):
    t = 0.2 * c0[np.arange(len(c0)), VALID_LABELS].mean()
    negatives = hard(cosines, theta, cosines * (t + cosines), lambda a: np.cos(a + 0.5))
    return 16 * shifted(theta, 0.5, "linear"), 16 * negatives


def ref_mv(theta, cosines, norm, c0, norm0, kind, emphasis):
    extra = 0.3 * (cosines + 1) if emphasis == "adaptive" else 0.3
    moved = (lambda a: np.cos(a + 0.4)) if kind == "angle" else (lambda a: np.cos(a) - 0.4)
    target = shifted(theta, 0.4, "linear") if kind == "angle" else np.cos(theta) - 0.4
    return 16 * target, 16 * hard(cosines, theta, cosines + extra, moved)


def ref_circle(theta, cosines, norm, c0, norm0, constant):
    target, target0 = np.cos(theta), c0[np.arange(len(c0)), VALID_LABELS]
    a_p = np.maximum(1.25 - (target0 if constant else target), 0)
    a_n = np.maximum((c0 if constant else cosines) + 0.25, 0)
    return 16 * a_p * (target - 0.75), 16 * a_n * (cosines - 0.25)


def ref_adacos(theta, cosines, norm, c0, norm0):
    s0 = np.sqrt(2) * np.log(C - 1)
    rows = np.arange(len(c0))
    others = np.exp(s0 * c0)
    others[rows, VALID_LABELS] = 0
    middle = np.median(np.arccos(c0[rows, VALID_LABELS]))
    s = np.log(others.sum(1).mean()) / np.cos(min(np.pi / 4, middle))
    return s * np.cos(theta), s * cosines


def fixed(target):
    return lambda theta, cosines, *_: (16 * target(theta), 16 * cosines)


VALID_LABELS = LABELS[MASK]
MARGINS = {
    "normface": (NormFace(scale=16.0), fixed(np.cos)),
    "cosface": (CosFace(scale=16.0, margin=0.3), fixed(lambda a: np.cos(a) - 0.3)),
    "sphereface": (SphereFace(scale=16.0, margin=4), fixed(lambda a: psi(a, 4))),
    "sphereface_annealed": (
        SphereFace(scale=16.0, margin=3, annealing=5.0),
        fixed(lambda a: (5 * np.cos(a) + psi(a, 3)) / 6),
    ),
    "combined": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1),
        fixed(lambda a: np.cos(1.3 * a + 0.2) - 0.1),
    ),
    "combined_clamp": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1, beyond_pi="clamp"),
        fixed(lambda a: np.cos(np.minimum(1.3 * a + 0.2, np.pi)) - 0.1),
    ),
    "combined_easy": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1, beyond_pi="easy"),
        fixed(lambda a: np.where(np.cos(a) > 0, np.cos(1.3 * a + 0.2), np.cos(a)) - 0.1),
    ),
    "adaface": (AdaFace(scale=16.0, concentration=30.0), ref_adaface),
    "magface": (MagFace(scale=16.0, lower_norm=3.0, upper_norm=9.0, pull=0.0), ref_magface),
    "curricular": (CurricularFace(scale=16.0, rate=0.2), ref_curricular),
    "circle": (CircleMargin(scale=16.0), functools.partial(ref_circle, constant=True)),
    "circle_whole": (
        CircleMargin(scale=16.0, constant_weights=False),
        functools.partial(ref_circle, constant=False),
    ),
    "adacos": (AdaCos(num_classes=C), ref_adacos),
}
for _beyond in ("continue", "linear", "easy", "clamp"):
    MARGINS[f"arcface_{_beyond}"] = (
        ArcFace(scale=16.0, margin=0.9, beyond_pi=_beyond),
        fixed(functools.partial(shifted, m=0.9, beyond=_beyond)),
    )
for _kind in ("angle", "cosine"):
    for _emphasis in ("adaptive", "fixed"):
        MARGINS[f"mv_{_kind}_{_emphasis}"] = (
            MVSoftmax(scale=16.0, kind=_kind, emphasis=_emphasis, margin=0.4, t=0.3),
            functools.partial(ref_mv, kind=_kind, emphasis=_emphasis),
        )


def ref_loss(name, x, w, x0, w0):
    """Mean cross-entropy over rows x, float64."""

    def compare(x, w):
        norm = np.linalg.norm(x, axis=1)
        return x @ w.T / norm[:, None] / np.linalg.norm(w, axis=1), norm

    rows = np.arange(len(x))
    cosines, norm = compare(x, w)
    theta = np.arccos(cosines[rows, VALID_LABELS])
    target, logits = MARGINS[name][1](theta, cosines, norm, *compare(x0, w0))
    logits[rows, VALID_LABELS] = target
    top = logits.max(1, keepdims=True)
    return (np.log(np.exp(logits - top).sum(1)) + top[:, 0] - target).mean()


def evaluate(x, w, labels, mask, names=tuple(MARGINS), axis_name=None):
    """Losses [B], new state and the gradients to x and w of the mean loss, of every margin."""

    def mean(margin, x, w):
        losses, state = margin_softmax_cross_entropy(
            x, w, labels, margin, margin.init(), mask=mask, axis_name=axis_name
        )
        rows = jnp.sum(mask)
        if axis_name is not None:
            rows = jax.lax.psum(rows, axis_name)
        return jnp.sum(losses) / jnp.maximum(rows, 1), (losses, state)

    results = {}
    for name in names:
        run = jax.grad(functools.partial(mean, MARGINS[name][0]), argnums=(0, 1), has_aux=True)
        (to_x, to_w), (losses, state) = run(x, w)
        if axis_name is not None:
            to_w = jax.lax.psum(to_w, axis_name)
        results[name] = losses, state, to_x, to_w
    return results


compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(compiled(EMBEDDINGS, CLASSIFIER, LABELS, MASK))
