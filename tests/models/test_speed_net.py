"""SpeedNet: whitened patches against linear algebra in float64, the whole network against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcv.models import PatchWhitening, SpeedNet, TestTimeAugmentation
from jaxcv.models.patch_whitening import extract_patches, whitening_filters
from jaxcv.models.speed_net import dirac_uniform
from tests.models.drawn_variables import draw_variables

NARROW = SpeedNet(num_classes=5, widths=(4, 6, 8))


def correlated_images(count=40, size=7, channels=3, seed=0):
    """Neighbouring pixels and channels resemble one another, as in photographs."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, size + 2, size + 2, channels))
    smooth = sum(noise[:, y : y + size, x : x + size] for y in range(3) for x in range(3))
    return (smooth @ rng.normal(size=(channels, channels))).astype(np.float32)


def patches_by_loops(images, size):
    count, height, width, _ = images.shape
    return np.stack(
        [
            images[n, y : y + size, x : x + size].reshape(-1)
            for n in range(count)
            for y in range(height - size + 1)
            for x in range(width - size + 1)
        ]
    )


@pytest.mark.parametrize(("size", "channels"), [(2, 3), (3, 1)])
def test_patches_are_those_of_loops(size, channels):
    images = correlated_images(2, 5, channels)
    found = extract_patches(jnp.asarray(images), size)
    np.testing.assert_array_equal(
        np.asarray(found).reshape(-1, size * size * channels), patches_by_loops(images, size)
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_filters_are_an_inverse_root_of_the_second_moments(epsilon):
    images = correlated_images()
    patches = patches_by_loops(images, 2).astype(np.float64)
    moments = patches.T @ patches / len(patches)
    filters = np.asarray(whitening_filters(jnp.asarray(images), 2, epsilon), np.float64)
    positive, negative = filters[:, :12], filters[:, 12:]
    np.testing.assert_array_equal(positive, -negative)
    # V (L + e)^-1/2 times its transpose, whatever the signs and the order of the eigenvectors.
    wanted = np.linalg.inv(moments + epsilon * np.eye(12))
    np.testing.assert_allclose(
        positive @ positive.T, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max()
    )
    if epsilon == 0.0:
        whitened = patches @ positive
        np.testing.assert_allclose(whitened.T @ whitened / len(patches), np.eye(12), atol=2e-3)


def test_layer_is_a_convolution_without_padding():
    images = jnp.asarray(correlated_images(3))
    layer = PatchWhitening()
    variables = draw_variables(layer, images)
    filters, bias = variables["whitening"]["filters"], variables["params"]["bias"]
    wanted = lax.conv_general_dilated(
        images,
        filters.reshape(2, 2, 3, 24),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(layer.apply(variables, images), wanted + bias, rtol=1e-4, atol=1e-4)


def test_before_it_is_fitted_the_layer_passes_patches_on():
    images = jnp.asarray(correlated_images(2))
    variables = PatchWhitening().init(jax.random.key(0), images)
    found = PatchWhitening().apply(variables, images) - variables["params"]["bias"]
    patches = extract_patches(images, 2)
    np.testing.assert_allclose(
        found, jnp.concatenate([patches, -patches], -1), rtol=1e-5, atol=1e-5
    )
    assert (np.abs(variables["params"]["bias"]) <= 12**-0.5).all()


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 7), (4, 4), (6, 2)])
def test_dirac_filters_copy_their_input(inputs, outputs):
    x = jnp.asarray(correlated_images(2, 6, inputs))
    filters = jax.jit(lambda key: dirac_uniform(key, (3, 3, inputs, outputs)))(jax.random.key(0))
    y = lax.conv_general_dilated(
        x, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    copied = min(inputs, outputs)
    np.testing.assert_allclose(y[..., :copied], x[..., :copied], rtol=1e-6, atol=1e-6)
    others = np.asarray(filters[..., copied:])
    assert (np.abs(others) <= (9 * inputs) ** -0.5).all()
    if others.size:
        # Uniform: its mean absolute value is half its bound.
        assert np.abs(others).mean() == pytest.approx((9 * inputs) ** -0.5 / 2, rel=0.2)


def test_classifier_starts_with_deviation_one():
    model = SpeedNet(num_classes=1000, widths=(2, 2, 64))
    kernel = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 9, 9, 3)))["params"][
        "classifier"
    ]["kernel"]
    assert kernel.shape == (64, 1000)
    assert float(kernel.std()) == pytest.approx(1.0, abs=0.01)


def torch_logits(torch, variables, images, *, train):
    """The network as its description reads, channels first, in PyTorch."""
    functional = torch.nn.functional
    params, stats = variables["params"], variables["batch_stats"]

    def tensor(array):
        return torch.from_numpy(np.array(array))

    def filters(kernel):
        return tensor(kernel).permute(3, 2, 0, 1)

    whitening = tensor(variables["whitening"]["whitening"]["filters"]).reshape(2, 2, 3, 24)
    x = tensor(images).permute(0, 3, 1, 2)
    x = functional.conv2d(x, whitening.permute(3, 2, 0, 1), tensor(params["whitening"]["bias"]))
    x = functional.gelu(x)
    for block in ("block_1", "block_2", "block_3"):
        for i in (1, 2):
            x = functional.conv2d(x, filters(params[block][f"conv_{i}"]["kernel"]), padding="same")
            if i == 1:
                x = functional.max_pool2d(x, 2)
            running = stats[block][f"norm_{i}"]
            x = functional.batch_norm(
                x,
                tensor(running["mean"]),
                tensor(running["var"]),
                bias=tensor(params[block][f"norm_{i}"]["bias"]),
                training=train,
                eps=1e-12,
            )
            x = functional.gelu(x)
    x = functional.max_pool2d(x, 3).flatten(1)
    return (x @ tensor(params["classifier"]["kernel"]) / x.shape[1]).numpy()


@pytest.mark.parametrize("train", [True, False])
def test_network_is_pytorchs(train):
    torch = pytest.importorskip("torch")
    images = correlated_images(4, 32)
    images /= images.std()
    variables = draw_variables(NARROW, images)

    @jax.jit
    def run(variables, images):
        return NARROW.apply(variables, images, train=train, mutable="batch_stats")

    found, updated = run(variables, images)
    wanted = torch_logits(torch, variables, images, train=train)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), updated["batch_stats"], variables["batch_stats"]
    )
    assert all(leaf is train for leaf in jax.tree.leaves(changed))


def test_fitting_changes_the_filters_alone_also_within_test_time_augmentation():
    images = jnp.asarray(correlated_images(6, 9))
    variables = draw_variables(NARROW, images)
    fitted = NARROW.fit_to_data(variables, images)
    np.testing.assert_array_equal(
        fitted["whitening"]["whitening"]["filters"], whitening_filters(images, 2, 5e-4)
    )
    for name in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, fitted[name], variables[name])

    wrapped = TestTimeAugmentation(NARROW)
    nested = draw_variables(wrapped, images)
    inner = wrapped.fit_to_data(nested, images)
    assert jax.tree.structure(inner) == jax.tree.structure(nested)
    np.testing.assert_array_equal(
        inner["whitening"]["model"]["whitening"]["filters"],
        fitted["whitening"]["whitening"]["filters"],
    )
    assert (wrapped.fit_examples, wrapped.num_classes) == (5000, 5)
