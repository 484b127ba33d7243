"""One real photograph, small, in colour and grey; and quick compilation."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

HEIGHT, WIDTH = 40, 56  # unequal, so that a test notices exchanged axes


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A flower, uint8 [40, 56, 3]."""
    flower = Image.fromarray(load_sample_images().images[1])
    pixels = np.array(flower.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    pixels.setflags(write=False)
    return pixels


@pytest.fixture(scope="session")
def gray_photo(photo: np.ndarray) -> np.ndarray:
    """The flower in grey, uint8 [40, 56, 1]."""
    return np.array(Image.fromarray(photo).convert("L"))[..., None]


@pytest.fixture(autouse=True, scope="module")
def _compile_quickly(quick_compilation: None) -> None:
    """Each of these tests compiles many small programs and runs each for a millisecond."""
