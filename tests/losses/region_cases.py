"""What the tests of region losses share: images, every loss, its loop in float64, all results.

Eight images (one a device) of 4 x 5 pixels and four classes: class 3 is nowhere, class 2 in some
images only, and image 6 is masked out as a whole.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.losses.regions.lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from jaxcv.losses.regions.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    mcc_loss,
    tversky_loss,
)

B, H, W, C, IGNORE = 8, 4, 5, 4, 255
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, (B, H, W)).astype(np.int32)
LABELS[:3][LABELS[:3] == 2] = 0
LABELS[RNG.random(LABELS.shape) < 0.1] = IGNORE
MASK = RNG.random((B, H, W)) < 0.9
MASK[6] = False
LOGITS = RNG.normal(size=(B, H, W, C)).astype(np.float32)
LOGITS += 1.5 * (LABELS[..., None] == np.arange(C))
DENSE = (RNG.random((B, H, W, C)) * (np.arange(C) < 3)).astype(np.float32)  # Soft labels.
WEIGHTS = np.array([0.0, 1.0, 2.0, 4.0])
QUICK = {"xla_backend_optimization_level": 0}  # LLVM would take most of the time otherwise.
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


# References: the loss of one class from probabilities p [n] and truth y [n] of the valid pixels.


def counts(p, y):
    return (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()


def dice(p, y, smooth=0.0):
    tp, fp, fn = counts(p, y)
    return 1 - (2 * tp + smooth) / (2 * tp + fp + fn + smooth)


def squared_dice(p, y):
    return 1 - 2 * (p * y).sum() / ((p**2).sum() + (y**2).sum())


def tversky(p, y, a=0.3, b=0.7, smooth=0.0):
    tp, fp, fn = counts(p, y)
    return 1 - (tp + smooth) / (tp + a * fp + b * fn + smooth)


def focal_tversky(p, y):
    return tversky(p, y) ** 0.75


def mcc(p, y, epsilon=1e-6):
    n = len(p)
    tp, fp, fn = (x / n for x in counts(p, y))
    tn = ((1 - p) * (1 - y)).sum() / n
    square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return 1 - (tp * tn - fp * fn + epsilon) / (np.sqrt(square) + epsilon)


def lovasz(errors, y):
    """Steps of the Jaccard loss of growing sets of wrong pixels, counted one by one."""
    order, wrong, before, loss = np.argsort(-errors), np.zeros(len(y), bool), 0.0, 0.0
    for k in order:
        wrong[k] = True
        predicted = np.where(wrong, 1 - y, y)
        union = np.maximum(predicted, y).sum()
        after = 1 - np.minimum(predicted, y).sum() / union if union else 0.0
        loss += errors[k] * (after - before)
        before = after
    return loss


def lovasz_softmax(p, y):
    return lovasz(np.abs(y - p), y)


def over_classes(of_class, p, y, absent="exclude", weights=None):
    weights = np.ones(C) if weights is None else weights
    losses, used = np.zeros(C), weights.copy()
    for c in range(C):
        present = y[:, c].sum() > 0
        if present or absent == "include":
            losses[c] = of_class(p[:, c], y[:, c])
        elif absent == "exclude":
            used[c] = 0
    return (losses * used).sum() / used.sum() if used.sum() else 0.0


def generalized(p, y, power=2, absent="exclude", weights=None):
    wrong = everything = 0.0
    for c in range(C):
        actual = y[:, c].sum()
        if actual or absent == "include":
            w = (1.0 if weights is None else weights[c]) / max(actual, 1) ** power
            tp, fp, fn = counts(p[:, c], y[:, c])
            wrong, everything = wrong + w * (fp + fn), everything + w * (2 * tp + fp + fn)
    return wrong / everything if everything else 0.0


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def each(of_class, **settings):
    return functools.partial(over_classes, of_class, **settings)


# name: (loss, its options, reference of p [n, C], y [n, C])
LOSSES = {
    "dice": (dice_loss, {}, each(dice)),
    "dice_zero": (dice_loss, {"absent": "zero"}, each(dice, absent="zero")),
    "dice_smooth": (
        functools.partial(dice_loss, smooth=1.0),
        {"absent": "include"},
        each(functools.partial(dice, smooth=1.0), absent="include"),
    ),
    "dice_squared": (functools.partial(dice_loss, squared=True), {}, each(squared_dice)),
    "dice_weighted": (dice_loss, {"class_weights": WEIGHTS}, each(dice, weights=WEIGHTS)),
    "dice_batch": (dice_loss, {"per": "batch"}, each(dice)),
    "dice_sigmoid": (dice_loss, {"activation": "sigmoid"}, each(dice)),
    "generalized": (generalized_dice_loss, {}, generalized),
    "generalized_include": (
        functools.partial(generalized_dice_loss, weighting="inverse"),
        {"absent": "include", "class_weights": WEIGHTS},
        functools.partial(generalized, power=1, absent="include", weights=WEIGHTS),
    ),
    "generalized_batch": (generalized_dice_loss, {"per": "batch"}, generalized),
    "tversky": (tversky_loss, {}, each(tversky)),
    "tversky_include": (
        functools.partial(tversky_loss, smooth=2.0),
        {"absent": "include"},
        each(functools.partial(tversky, smooth=2.0), absent="include"),
    ),
    "focal_tversky": (focal_tversky_loss, {}, each(focal_tversky)),
    "jaccard": (jaccard_loss, {}, each(functools.partial(tversky, a=1, b=1))),
    "mcc": (mcc_loss, {}, each(mcc)),
    "mcc_include": (mcc_loss, {"absent": "include"}, each(mcc, absent="include")),
    "mcc_batch": (mcc_loss, {"per": "batch"}, each(mcc)),
    "lovasz": (lovasz_softmax_loss, {}, each(lovasz_softmax)),
    "lovasz_include": (
        lovasz_softmax_loss,
        {"absent": "include"},
        each(lovasz_softmax, absent="include"),
    ),
    "lovasz_batch": (lovasz_softmax_loss, {"per": "batch"}, each(lovasz_softmax)),
}


def evaluate(logits, labels, dense, mask, axis_name=None):
    """Values [B] and gradients of their sum, of every loss; with an axis, of those that use it."""
    options = {"mask": mask, "axis_name": axis_name}
    indexed = {"labels": labels, "ignore_label": IGNORE, **options}
    runs = {}
    for name, (loss, own, _) in LOSSES.items():
        sigmoid = own.get("activation") == "sigmoid"
        given = {"labels": dense, **options} if sigmoid else indexed
        if axis_name is None or own.get("per") == "batch":
            runs[name] = functools.partial(loss, **given, **own)
    for name, per in (("hinge", "image"), ("hinge_batch", "batch")):
        runs[name] = lambda z, per=per: lovasz_hinge_loss(z[..., 0], **indexed, per=per)

    def with_sum(run, z):
        values = run(z)
        return jnp.sum(values), values

    results = {}
    for name, run in runs.items():
        gradient, values = jax.grad(functools.partial(with_sum, run), has_aux=True)(logits)
        results[name] = values, gradient
    return results


def reference(name, logits):
    """Values [B] float64, from the valid pixels alone."""
    valid = MASK if "sigmoid" in name else MASK & (LABELS != IGNORE)

    def of_images(images):
        z, keep = logits[images], valid[images]
        if not keep.any():
            return 0.0
        if "hinge" in name:
            y = (LABELS[images] == 1)[keep].astype(float)
            return lovasz(np.maximum(1 - z[..., 0][keep] * (2 * y - 1), 0), y)
        if "sigmoid" in name:
            return LOSSES[name][2](sigmoid(z[keep]), DENSE[images][keep].astype(float))
        y = (LABELS[images][..., None] == np.arange(C)).astype(float)
        return LOSSES[name][2](softmax(z)[keep], y[keep])

    if "batch" in name:
        return np.where(valid.any((1, 2)), of_images(slice(None)), 0.0)
    return np.array([of_images(slice(i, i + 1)) for i in range(B)])


compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(compiled(LOGITS, LABELS, DENSE, MASK))
