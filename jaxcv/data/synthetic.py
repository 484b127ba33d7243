"""Images drawn from a formula: for tests and benchmarks, without a file."""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxcv.data.fit import size_pair
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.source import Record, Source, Split, check_split

_SPLIT_NUMBER = {"train": 0, "test": 1}


class SyntheticSource:
    """One split of `Synthetic`, generated record by record."""

    def __init__(self, dataset: "Synthetic", split: Split):
        self._dataset = dataset
        self._number = _SPLIT_NUMBER[split]
        self._split = split
        self._length = dataset.num_examples if split == "train" else dataset.num_test_examples
        self.class_names = tuple(f"class {c}" for c in range(dataset.num_classes))
        height, width = size_pair(dataset.image_size) or (1, 1)
        self._rows, self._columns = np.mgrid[:height, :width].astype(np.float32)

    @property
    def image_reader(self) -> ImageReader:
        """Brings a file to the size and channels of the records; no file has other than 1 or 3."""
        channels: Any = self._dataset.channels
        return ImageReader(size=self._dataset.image_size, channels=channels)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], the class of each record."""
        return (np.arange(self._length) % self._dataset.num_classes).astype(np.int32)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < self._length:
            raise IndexError(f"record {index} of {self._length}")
        dataset = self._dataset
        seed = np.random.SeedSequence([dataset.seed, self._number, index])
        generator = np.random.Generator(np.random.Philox(seed))
        label = index % dataset.num_classes
        angle = math.pi * label / dataset.num_classes
        phase = 2 * math.pi * generator.random()
        across = self._columns * math.cos(angle) + self._rows * math.sin(angle)
        wave = np.sin(2 * math.pi / dataset.wavelength * across + phase)
        shape = (*wave.shape, dataset.channels)
        noise = generator.random(shape, np.float32) - 0.5
        image = 0.5 + 0.3 * wave[..., None] + dataset.noise * noise
        pixels = np.clip(np.round(255 * image), 0, 255).astype(np.uint8)
        return {"image": pixels, "label": np.int32(label)}

    def record_name(self, index: int) -> str:
        """`synthetic train[index]`."""
        return f"synthetic {self._split}[{index}]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Stripes whose direction is the class, with a random phase and noise: balanced, learnable.

    Record i of class c = i mod C is 0.5 + 0.3 sin(2 pi / wavelength (x cos a + y sin a) + phase) +
    noise, with a = pi c / C. The phase being random, no single pixel tells the class: a linear
    model stays near chance while a small convolutional one learns it. Every record is a pure
    function of (seed, split, index).

    Attributes:
      num_examples: length of the training split.
      num_test_examples: length of the test split.
      image_size: side, or (height, width), in pixels.
      channels: 1 or 3.
      num_classes: number of directions, C.
      wavelength: of the stripes, in pixels.
      noise: width of the uniform noise, as a fraction of the full range.
      seed: another seed, other images.

    Example:
      >>> Synthetic(image_size=16).open("test")[3]["label"]
      np.int32(3)
    """

    num_examples: int = 1024
    num_test_examples: int = 256
    image_size: int | tuple[int, int] = 32
    channels: int = 3
    num_classes: int = 10
    wavelength: float = 6.0
    noise: float = 0.2
    seed: int = 0

    def open(self, split: Split) -> Source:
        """Opens the train or test split; nothing is generated yet."""
        check_split(split, "Synthetic")
        if self.num_classes < 1 or self.num_examples < 1 or self.num_test_examples < 1:
            raise ValueError(f"synthetic data need at least one class and one record; found {self}")
        return SyntheticSource(self, split)
