"""FaceEmbedder: counted by hand, and blind to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import FaceEmbedder
from tests.models.drawn_variables import draw_variables


def test_weights_as_counted_by_hand():
    variables = jax.eval_shape(
        lambda: FaceEmbedder().init(jax.random.key(0), jnp.zeros((1, 32, 28, 1)))
    )
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128)
    dense = 4 * 3 * 128 * 128  # 32x28 is halved three times, rounded down
    norms = 2 * (32 + 64 + 128 + 128)
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == convolutions + dense + norms == 289_760


def test_padding_changes_neither_statistics_nor_other_rows():
    model = FaceEmbedder(embedding_size=6, widths=(2,), dropout=0.0)
    images = np.random.default_rng(1).normal(size=(6, 9, 8, 1)).astype(np.float32)
    variables = draw_variables(model, images)
    mask = np.arange(6) < 4

    @jax.jit
    def trained(images):
        return model.apply(variables, images, train=True, mask=mask, mutable=["batch_stats"])

    first, first_state = trained(images)
    second, second_state = trained(np.where(mask[:, None, None, None], images, np.float32(100)))
    assert first.shape == (6, 6)
    np.testing.assert_allclose(first[:4], second[:4], rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        first_state,
        second_state,
    )
    # The last layer is BatchNorm: a batch's columns have its bias as mean, its scale as deviation.
    last = variables["params"]["embedding_norm"]["norm"]
    np.testing.assert_allclose(first[:4].mean(0), last["bias"], atol=1e-4)
    np.testing.assert_allclose(first[:4].std(0), last["scale"], rtol=1e-2)


def test_images_too_small():
    with pytest.raises(ValueError, match="FaceEmbedder wants images of at least 8x8 pixels"):
        FaceEmbedder().init(jax.random.key(0), jnp.zeros((1, 7, 28, 1)))
