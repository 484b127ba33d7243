"""Label maps of image files: the scale the model sees, the size that is written, the names of files."""

from types import SimpleNamespace

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.data import ImageReader
from jaxcv.image import resize, to_float
from jaxcv.predict.images import unique_stems
from jaxcv.tasks.segmentation.predict import best_classes, segment_image

RNG = np.random.default_rng(0)


class Watched:
    """A predictor of two classes, dark and bright, that remembers what it saw."""

    def __call__(self, images):
        self.seen = np.asarray(images)
        bright = self.seen.mean(-1, keepdims=True)
        return np.concatenate([1 - bright, bright], -1)


def segmented(image, size, fit="crop"):
    predict = Watched()
    run = SimpleNamespace(image_reader=ImageReader(size=size, fit=fit))
    index_map, confidence = segment_image(run, predict, image)
    assert index_map.shape == confidence.shape == image.shape[:2]
    return index_map, predict.seen


def halves(height, width):
    """Dark above, bright below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :] = 255
    return image


@pytest.mark.parametrize(
    ("size", "fit", "seen"),
    [
        ((12, 16), "crop", (12, 18)),  # covers it, and nothing is cut off
        ((12, 16), "stretch", (12, 16)),
        ((12, 16), "pad", (12, 16)),
        (None, "crop", (40, 60)),
    ],
)
def test_model_sees_the_scale_of_training_and_the_map_has_the_size_of_the_image(size, fit, seen):
    image = halves(40, 60)
    index_map, found = segmented(image, size, fit)
    assert found.shape == (1, *seen, 3)
    # Both halves come back where they were, also where the middle of the picture was padded.
    np.testing.assert_array_equal(index_map, image[..., 0] // 255)


def test_padding_is_no_part_of_the_map():
    """Black bars above and below a white image would be dark."""
    index_map, found = segmented(np.full((10, 40, 3), 255, np.uint8), (20, 20), "pad")
    assert found[0, 0].max() == 0
    assert (index_map == 1).all()


def test_an_image_of_the_data_sets_own_shape_is_seen_as_it_is():
    image = RNG.integers(0, 256, (12, 16, 3), np.uint8)
    index_map, found = segmented(image, (12, 16))
    np.testing.assert_array_equal(found[0], to_float(image))
    np.testing.assert_array_equal(index_map, (found[0].mean(-1) > 0.5).astype(np.uint8))


@pytest.mark.parametrize("size", [(1, 50), (50, 1)])
def test_slender_images_are_no_smaller_than_the_scale_wants(size):
    _, found = segmented(np.zeros((*size, 3), np.uint8), (12, 16))
    assert found.shape[1] >= 12
    assert found.shape[2] >= 16


@pytest.mark.parametrize("size", [(17, 31), (40, 8)])
def test_best_classes_are_those_of_bilinear_scaling(size, monkeypatch):
    monkeypatch.setattr("jaxcv.tasks.segmentation.predict._BLOCK", 200)  # a few rows at a time
    probabilities = RNG.random((9, 13, 4)).astype(np.float32)
    wanted = np.asarray(resize(jnp.asarray(probabilities), size, antialias=False))
    index_map, confidence = best_classes(probabilities, size)
    np.testing.assert_allclose(confidence, wanted.max(-1), atol=1e-5)
    clear = np.diff(np.sort(wanted, -1)[..., -2:])[..., 0] > 1e-4
    np.testing.assert_array_equal(index_map[clear], wanted.argmax(-1)[clear])


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(
    st.lists(st.sampled_from(["1", "1_2", "1_3", "A", "a", "a_2", "ä"]), min_size=1, max_size=12)
)
def test_file_names_never_collide_and_single_ones_are_kept(stems):
    files = [f"folder{i}/{stem}.png" for i, stem in enumerate(stems)]
    unique = unique_stems(files)
    assert len({name.lower() for name in unique}) == len(files)
    for i, stem in enumerate(stems):
        if stem.lower() not in {other.lower() for other in stems[:i]}:
            assert unique[i] == stem
