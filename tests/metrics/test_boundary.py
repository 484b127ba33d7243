"""Boundary F1: by hand, and beside exact distances by SciPy."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxcv.metrics.boundary import BoundaryCounts, boundary_counts, boundary_summary, is_edge

RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnames=("num_classes", "tolerance"))
def count(labels, predictions, valid, num_classes, tolerance):
    return boundary_counts(labels, predictions, num_classes, tolerance=tolerance, valid=valid)


def blobs(shape, classes, seed):
    """Label maps of smooth regions."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return scipy.ndimage.gaussian_filter(noise, (0, 0, 2, 2)).argmax(0)


def edges_of(classes, valid):
    """Written pixel by pixel."""
    edge = np.zeros(classes.shape, bool)
    for y, x in np.ndindex(classes.shape):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= v < classes.shape[0] and 0 <= u < classes.shape[1]
            if inside and valid[y, x] and valid[v, u] and classes[v, u] != classes[y, x]:
                edge[y, x] = True
    return edge


@pytest.mark.parametrize(("classes", "tolerance"), [(4, 0), (4, 3), (40, 2)])
def test_counts_are_those_of_exact_distances(classes, tolerance):
    """40 classes take two words of bits; the images are smaller than a large tolerance."""
    shape = (2, 18, 15)
    true, predicted = blobs(shape, classes, 1), blobs(shape, classes, 2)
    predicted[0, :9] = true[0, :9]
    valid = RNG.random(shape) < 0.95
    counts = count(true, predicted, valid, classes, tolerance)
    for i in range(shape[0]):
        pair = {}
        for name, classes_of in (("true", true[i]), ("predicted", predicted[i])):
            edge = edges_of(classes_of, valid[i])
            np.testing.assert_array_equal(is_edge(classes_of[None], valid[i][None])[0], edge)
            pair[name] = [edge & (classes_of == c) for c in range(classes)]
        for c in range(classes):
            for name, other in (("true", "predicted"), ("predicted", "true")):
                own, theirs = pair[name][c], pair[other][c]
                away = scipy.ndimage.distance_transform_edt(~theirs) if theirs.any() else np.inf
                assert getattr(counts, name)[i, c] == own.sum()
                hits = getattr(counts, f"{name}_hits")[i, c]
                assert hits == (own & (away <= tolerance)).sum()


def test_f1_by_hand():
    """A vertical edge, predicted two columns away: pixels of each class lie two apart."""
    true = np.where(np.arange(8) < 4, 0, 1)[None, None].repeat(3, 1)
    predicted = np.where(np.arange(8) < 6, 0, 1)[None, None].repeat(3, 1)
    valid = np.ones(true.shape, bool)
    near, far = (boundary_summary(count(true, predicted, valid, 3, t)) for t in (2, 1))
    assert near == {
        "boundary_f1": 1.0,
        "image_boundary_f1": 1.0,
        "boundary_f1_per_class": [1.0, 1.0, None],
    }
    assert far["boundary_f1"] == far["image_boundary_f1"] == 0.0
    # Half of the predicted edge is right, all of the true one is found: 2 (1/2) 1 / (3/2).
    two = np.array([[0, 6]])
    counts = BoundaryCounts(predicted=two, predicted_hits=two // 2, true=two, true_hits=two)
    assert boundary_summary(counts)["boundary_f1_per_class"] == [None, pytest.approx(2 / 3)]


def test_images_without_an_edge_have_no_f1():
    flat = np.zeros((1, 4, 4), int)
    counts = count(flat, flat, np.ones(flat.shape, bool), 2, 2)
    assert not any(np.any(x) for x in counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = boundary_summary(counts)
    assert np.isnan(result["boundary_f1"])
    assert np.isnan(result["image_boundary_f1"])


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance is -1"):
        boundary_counts(jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 2)), 2, tolerance=-1)
