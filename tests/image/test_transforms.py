"""What every random transform promises: dtype, range, determinism, alone as in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

TRANSFORMS = [
    ji.RandomCrop(size=(24, 32), padding=3, padding_mode="reflect"),
    ji.RandomResizedCrop(size=(24, 32), method="bicubic"),
    ji.RandomScaleCrop(size=(24, 32), fill=0.5),
    ji.RandomHorizontalFlip(),
    ji.RandomVerticalFlip(),
    ji.RandomTranslation(fraction=(0.2, 0.3), fill=0.5),
    ji.RandomRotation(degrees=45.0),
    ji.RandomAffine(shear=(10.0, 5.0), fill=1.0),
    ji.ColorJitter(hue=0.1),
    ji.RandomGrayscale(probability=0.5),
    ji.GaussianNoise(),
    ji.GaussianBlur(),
    ji.Cutout(size=(9, 12), fill=0.5),
    ji.RandomErasing(fill="noise"),
    ji.RandomApply(ji.RandomVerticalFlip(1.0)),
    ji.RandAugment(magnitude=20.0),
    ji.TrivialAugment(),
]
NUM_KEYS = 6
KEYS = jax.random.split(jax.random.key(7), NUM_KEYS)


@pytest.fixture(scope="module", params=TRANSFORMS, ids=lambda t: type(t).__name__)
def results(request, photo):
    """The transform, its uint8 results in a batch, and its float result for the first key alone."""
    transform = request.param
    batch = jnp.broadcast_to(photo, (NUM_KEYS, *photo.shape))
    mapped = jax.jit(jax.vmap(transform))
    return transform, (mapped(KEYS, batch), mapped(KEYS, batch)), jax.jit(transform)


def test_contract(results, photo):
    _, (levels, again), alone = results
    unit = alone(KEYS[0], ji.to_float(photo))
    assert levels.dtype == jnp.uint8
    assert unit.dtype == jnp.float32
    assert levels.shape == (NUM_KEYS, *unit.shape)
    # The same key, the same bytes.
    np.testing.assert_array_equal(levels, again)
    # The range is kept.
    assert 0.0 <= float(unit.min()) <= float(unit.max()) <= 1.0
    # Float alone and uint8 in a batch differ by the rounding of uint8 and nothing else.
    np.testing.assert_allclose(unit, levels[0] / np.float32(255), atol=1 / 255)
    # Another key, another result.
    assert len({np.asarray(result).tobytes() for result in levels}) > 1


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_one_channel_and_shape_are_known_without_running(transform):
    for dtype in ("uint8", "float32", "bfloat16"):
        image = jax.ShapeDtypeStruct((40, 56, 1), dtype)
        out = jax.eval_shape(transform, KEYS[0], image)
        assert (out.dtype, out.shape[-1]) == (dtype, 1)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("shape", [(40, 56), (2, 40, 56, 3)])
def test_wrong_rank_is_refused(transform, shape):
    with pytest.raises(ValueError, match="shape"):
        jax.eval_shape(transform, KEYS[0], jax.ShapeDtypeStruct(shape, "uint8"))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_transforms_are_values(transform):
    assert hash(transform) == hash(type(transform)(**vars(transform)))
    assert transform == type(transform)(**vars(transform))
