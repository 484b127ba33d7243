"""Inference on images of any size: windows cover exactly, views are averaged, indices are kept."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.tasks.segmentation.inference import (
    Inference,
    blend_weights,
    flip_averaged,
    multi_scale,
    resized,
    segment,
    sliding_window,
    softmax_predictor,
    window_starts,
)

RNG = np.random.default_rng(0)
WEIGHTS = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)


def pointwise(images):
    """Logits that depend on a pixel's own colour alone."""
    return images.astype(jnp.float32) @ WEIGHTS


def draw(*shape):
    return jnp.asarray(RNG.random(shape), jnp.float32)


@pytest.mark.parametrize("blend", ["gaussian", "uniform"])
@pytest.mark.parametrize(("size", "overlap"), [((17, 23), 0.5), ((8, 10), 0.0), ((5, 31), 0.3)])
def test_windows_give_a_pointwise_model_its_own_result(size, overlap, blend):
    """Also where the image is exactly a window, or smaller than one."""
    images = draw(2, *size, 3)
    predict = softmax_predictor(pointwise)
    windowed = sliding_window(predict, (8, 10), overlap=overlap, blend=blend, batch_size=3)
    np.testing.assert_allclose(windowed(images), predict(images), atol=1e-6)


def test_windows_are_of_one_shape_and_compiled_once():
    traces = []

    def model(images):
        traces.append(images.shape)
        return pointwise(images)

    predict = Inference(window=(8, 8), batch_size=3, scales=(1.0, 1.5)).predictor(model)
    for size in ((8, 8), (20, 9), (3, 30)):
        assert predict(draw(1, *size, 3)).shape == (1, *size, 4)
    assert traces == [(3, 8, 8, 3)]


def test_windows_are_blended_by_their_weights():
    """Two windows of 4 on a row of 6; each says where a pixel lies in it."""

    def place(images):
        places = jnp.arange(4.0) / 10
        return jnp.broadcast_to(places[None, None, :, None], (*images.shape[:3], 1))

    found = sliding_window(place, (1, 4), overlap=0.5)(jnp.zeros((1, 1, 6, 3)))[0, 0, :, 0]
    weights = np.exp(-(((np.arange(4) - 1.5) / 0.5) ** 2) / 2)
    at_2 = (weights[2] * 0.2 + weights[0] * 0.0) / (weights[2] + weights[0])
    at_3 = (weights[3] * 0.3 + weights[1] * 0.1) / (weights[3] + weights[1])
    np.testing.assert_allclose(found, [0, 0.1, at_2, at_3, 0.2, 0.3], rtol=1e-5, atol=1e-7)
    assert (blend_weights((512, 3), "gaussian") > 0).all()


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(window=st.integers(1, 40), extra=st.integers(0, 300), overlap=st.floats(0, 0.99))
def test_windows_cover_an_axis_from_end_to_end_and_overlap(window, extra, overlap):
    length = window + extra
    starts = window_starts(length, window, overlap)
    steps = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, length - window)
    assert (steps > 0).all()
    assert (steps <= max(1, int(window * (1 - overlap)))).all()


def test_flipping_averages_with_the_mirrored_view():
    """A model that also sees the column: its view of the mirror image is mirrored back."""

    def model(images):
        columns = jnp.arange(images.shape[2], dtype=jnp.float32)[None, None, :, None]
        return images + jnp.array([0.0, 0.1, -0.2]) * columns

    image = draw(1, 4, 5, 3)
    predict = softmax_predictor(model)
    found = flip_averaged(predict)(image)
    columns = np.arange(5.0)[None, None, :, None]
    fractions = np.array([0.0, 0.1, -0.2])
    views = [jax.nn.softmax(image + fractions * c) for c in (columns, 4 - columns)]
    np.testing.assert_allclose(found, (views[0] + views[1]) / 2, rtol=1e-5)
    mirrored = flip_averaged(predict)(image[:, :, ::-1])
    np.testing.assert_allclose(mirrored[:, :, ::-1], found, rtol=1e-5)


def test_scales_are_averaged_at_the_size_of_the_image():
    seen = []

    def model(images):
        """Says how large the image is."""
        seen.append(images.shape[1:3])
        return jnp.full((*images.shape[:3], 1), float(images.shape[1]))

    found = multi_scale(model, (0.5, 1.0, 2.0))(jnp.zeros((2, 10, 7, 3)))
    assert seen == [(5, 4), (10, 7), (20, 14)]
    assert found.shape == (2, 10, 7, 1)
    np.testing.assert_allclose(found, 35 / 3, rtol=1e-6)
    flat = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (1, 9, 7, 3))
    predict = softmax_predictor(pointwise)
    wanted = predict(flat)
    np.testing.assert_allclose(multi_scale(predict, (0.5, 1.7))(flat), wanted, atol=1e-6)
    np.testing.assert_allclose(resized(predict, (4, 4))(flat), wanted, atol=1e-6)


def test_every_choice_together_gives_probabilities_and_an_index_map():
    inference = Inference(
        size=(16, 18), window=(8, 8), overlap=0.25, scales=(0.75, 1.25), flip=True
    )
    image = draw(13, 22, 3)
    predict = inference.predictor(lambda images: {"logits": pointwise(images), "auxiliary": 0})
    probabilities = predict(image[None])[0]
    assert probabilities.shape == (13, 22, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    index_map, confidence = segment(predict, image)
    assert index_map.dtype == np.uint8
    np.testing.assert_array_equal(index_map, np.asarray(probabilities).argmax(-1))
    np.testing.assert_array_equal(confidence, np.asarray(probabilities).max(-1))
    plain = Inference().predictor(pointwise)
    wanted = jax.nn.softmax(pointwise(image[None]))
    # The same formula in another program: the exponentials and their sum are rounded otherwise.
    np.testing.assert_allclose(plain(image[None]), wanted, rtol=4 * 2**-23)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sliding_window(pointwise, (4, 4), overlap=1.0), "overlap is 1.0"),
        (lambda: sliding_window(pointwise, (0, 4)), r"window \(0, 4\)"),
        (lambda: sliding_window(pointwise, (4, 4), blend="linear"), "blend is 'linear'"),
        (lambda: multi_scale(pointwise, ()), r"scales are \(\)"),
        (lambda: multi_scale(pointwise, (1.0, -1.0)), "positive numbers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
