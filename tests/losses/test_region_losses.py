"""Region losses against loops in float64 and over eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses.regions.lovasz import lovasz_softmax_loss
from jaxcv.losses.regions.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    mcc_loss,
    tversky_loss,
)
from tests.losses.region_cases import (
    DENSE,
    IGNORE,
    LABELS,
    LOGITS,
    LOSSES,
    MASK,
    QUICK,
    B,
    C,
    W,
    compiled,
    evaluate,
    quick_jit,
    reference,
    results,
)


@pytest.mark.parametrize("name", [*LOSSES, "hinge", "hinge_batch"])
def test_value_and_gradient_equal_the_loops_on_the_valid_pixels(name):
    values, gradient = results()[name]
    logits = LOGITS.astype(np.float64)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, reference(name, logits), rtol=2e-5, atol=1e-6)
    invalid = ~MASK if "sigmoid" in name else ~MASK | (LABELS == IGNORE)
    assert not np.any(gradient[invalid])
    rng = np.random.default_rng(1)
    for _ in range(3):  # Central differences in random directions.
        direction, step = rng.normal(size=logits.shape), 1e-6
        up, down = (reference(name, logits + s * direction).sum() for s in (step, -step))
        scale = np.abs(gradient * direction).sum()
        assert abs((gradient * direction).sum() - (up - down) / (2 * step)) < 1e-4 * scale + 1e-7


def test_eight_devices_give_the_values_and_gradients_of_one():
    split = [a[:, None] for a in (LOGITS, LABELS, DENSE, MASK)]
    mapped = jax.pmap(functools.partial(evaluate, axis_name="devices"), axis_name="devices")
    found = jax.device_get(mapped.lower(*split).compile(QUICK)(*split))
    assert len(found) == 6
    for name, eight in found.items():
        values, gradient = results()[name]
        np.testing.assert_allclose(eight[0][:, 0], values, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(eight[1][:, 0], gradient, rtol=1e-4, atol=1e-6, err_msg=name)


def test_finite_at_extreme_logits_perfect_and_wrong_predictions_and_with_everything_masked():
    perfect = 1e4 * (LABELS[..., None] == np.arange(C)).astype(np.float32)
    one_class = np.zeros_like(LABELS)
    no_labels = np.zeros_like(DENSE)
    for z, y, dense, mask in [
        (perfect, LABELS, DENSE, MASK),
        (-perfect, LABELS, DENSE, MASK),
        (perfect * 6e-3, LABELS, DENSE, MASK),  # Probabilities of about 1e-26.
        (np.zeros_like(LOGITS), one_class, no_labels, MASK),
        (LOGITS, np.full_like(LABELS, IGNORE), DENSE, MASK),
        (LOGITS, LABELS, DENSE, MASK & False),
        (np.where(MASK[..., None], LOGITS, np.nan), LABELS, DENSE, MASK),
    ]:
        for name, (values, gradient) in compiled(z, y, dense, mask).items():
            assert np.isfinite(values).all(), name
            assert np.isfinite(gradient).all(), name
            if not mask.any():
                assert not np.any(values), name
                assert not np.any(gradient), name
    for name, (values, _) in compiled(perfect, LABELS, DENSE, MASK).items():
        if "sigmoid" not in name and "hinge" not in name and "smooth" not in name:
            np.testing.assert_allclose(values, 0.0, atol=1e-5, err_msg=name)


def test_permuting_the_classes_and_the_images_changes_nothing():
    order = np.array([2, 0, 3, 1])
    renamed = np.where(LABELS == IGNORE, IGNORE, np.argsort(order)[np.minimum(LABELS, C - 1)])
    images = np.arange(B)[::-1]
    permuted = compiled(
        LOGITS[images][..., order],
        renamed[images].astype(np.int32),
        DENSE[images][..., order],
        MASK[images],
    )
    for name, (values, gradient) in results().items():
        if "weighted" in name or name in ("generalized_include", "hinge", "hinge_batch"):
            continue  # These know class numbers.
        np.testing.assert_allclose(permuted[name][0], values[images], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            permuted[name][1], gradient[images][..., order], rtol=1e-3, atol=1e-5
        )


@pytest.mark.slow
def test_half_precision_is_computed_in_float32():
    half = jnp.asarray(LOGITS, jnp.bfloat16)
    run = lambda z: {  # noqa: E731
        name: jax.value_and_grad(lambda z, f=f: f(z, LABELS % C, mask=MASK).sum())(z)
        for name, f in (("dice", dice_loss), ("mcc", mcc_loss), ("lovasz", lovasz_softmax_loss))
    }
    exact = quick_jit(run)(half.astype(jnp.float32))
    for name, (value, gradient) in quick_jit(run)(half).items():
        assert value.dtype == jnp.float32
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(value, exact[name][0], rtol=1e-5)
        np.testing.assert_allclose(
            gradient.astype(np.float32), exact[name][1], rtol=1e-2, atol=1e-4
        )


def test_relations_between_the_losses():
    @quick_jit
    def run(z):
        options = {"ignore_label": IGNORE, "mask": MASK, "per": "image"}
        half = {"false_positive_weight": 0.5, "false_negative_weight": 0.5}
        whole = {"false_positive_weight": 1.0, "false_negative_weight": 1.0}
        binary = z[..., :1]
        labels = (LABELS[..., None] == 1).astype(np.float32)
        return {
            "dice": (dice_loss(z, LABELS, **options), tversky_loss(z, LABELS, **half, **options)),
            "smooth": (
                dice_loss(z, LABELS, smooth=2.0, **options),
                tversky_loss(z, LABELS, smooth=1.0, **half, **options),
            ),
            "jaccard": (
                jaccard_loss(z, LABELS, **options),
                tversky_loss(z, LABELS, **whole, **options),
            ),
            "focal": (
                focal_tversky_loss(z, LABELS, exponent=1.0, **options),
                tversky_loss(z, LABELS, **options),
            ),
            "dense": (
                dice_loss(z, jax.nn.one_hot(LABELS % C, C), mask=MASK),
                dice_loss(z, LABELS % C, mask=MASK),
            ),
            "sigmoid": (  # Two classes: softmax over (0, z) is the sigmoid.
                dice_loss(binary, labels, activation="sigmoid", mask=MASK),
                dice_loss(
                    jnp.concatenate([jnp.zeros_like(binary), binary], -1),
                    (LABELS == 1).astype(np.int32),
                    class_weights=np.array([0, 1]),
                    mask=MASK,
                ),
            ),
            "uniform weights": (
                dice_loss(z, LABELS, class_weights=np.full(C, 2.0), **options),
                dice_loss(z, LABELS, **options),
            ),
            "generalised, uniform, one class": (
                generalized_dice_loss(
                    z, LABELS, weighting="uniform", class_weights=np.eye(C)[1], **options
                ),
                dice_loss(z, LABELS, class_weights=np.eye(C)[1], **options),
            ),
        }

    for name, (one, other) in run(LOGITS).items():
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_vmap_forward_mode_and_volumes():
    def run(z):
        f = lambda z: mcc_loss(z, LABELS % C).sum() + lovasz_softmax_loss(z, LABELS % C).sum()  # noqa: E731
        forward = jax.jvp(f, (z,), (jnp.cos(z),))[1]
        return forward, jnp.vdot(jax.grad(f)(z), jnp.cos(z))

    forward, backward = quick_jit(jax.vmap(run))(jnp.stack([LOGITS, 2 * LOGITS]))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    volume = quick_jit(dice_loss)(LOGITS.reshape(B, 2, 2, W, C), (LABELS % C).reshape(B, 2, 2, W))
    np.testing.assert_allclose(volume, quick_jit(dice_loss)(LOGITS, LABELS % C), rtol=1e-6)
