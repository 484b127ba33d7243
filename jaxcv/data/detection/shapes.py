"""Squares, circles and triangles on a textured ground: detection data without a file."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxcv.data.detection.objects import Objects, detection_record
from jaxcv.data.fit import size_pair
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.source import Record, Source, Split, check_split

SHAPES = ("square", "circle", "triangle")

_SPLIT_NUMBER = {"train": 0, "test": 1}
_TRIES = 40  # places tried for an object, before the image goes without it
_MAX_OVERLAP = 0.25  # of two boxes, as a fraction of the smaller one
_MIN_VISIBLE = 0.6  # fraction of an object's pixels that nothing covers
_MIN_CONTRAST = 90  # levels by which the colour of an object stands out in some channel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
    """Images of 0 to K squares, circles and triangles of random colour, size and place.

    An object has a colour that stands out from the ground and from the other objects. Objects may
    overlap, the later one above, by at most a quarter of the smaller box, and at least 0.6 of each
    object is seen. Boxes are exact, to fractions of a pixel: edges are drawn with the fraction of a
    pixel that they cover. Every record is a pure function of (seed, split, index).

    Attributes:
      num_examples: length of the training split.
      num_test_examples: length of the test split.
      image_size: side, or (height, width), in pixels.
      max_objects: K, also the rows M of a record; an image has 0 to K, each equally likely, but for
        those that find no room.
      sizes: (smallest, largest) side of an object, as a fraction of the image's shorter side.
      noise: width of the uniform noise, in levels of 255.
      seed: another seed, other images.

    Example:
      >>> record = Shapes().open("test")[3]
      >>> record["image"].shape, record["boxes"].shape
      ((96, 96, 3), (6, 4))
    """

    num_examples: int = 2048
    num_test_examples: int = 256
    image_size: int | tuple[int, int] = 96
    max_objects: int = 6
    sizes: tuple[float, float] = (0.15, 0.4)
    noise: float = 30.0
    seed: int = 0

    def open(self, split: Split) -> Source:
        """Opens the train or test split; nothing is generated yet."""
        check_split(split, "Shapes")
        counts = (self.num_examples, self.num_test_examples, self.max_objects)
        if min(counts) < 1:
            raise ValueError(f"shapes need at least one record and one object; found {self}")
        if not 0 < self.sizes[0] <= self.sizes[1] <= 1:
            raise ValueError(f"sizes must be 0 < smallest <= largest <= 1, not {self.sizes}")
        return ShapesSource(self, split)


class ShapesSource:
    """One split of `Shapes`, generated record by record."""

    class_names = SHAPES

    def __init__(self, dataset: Shapes, split: Split):
        self._dataset, self._split = dataset, split
        self._number = _SPLIT_NUMBER[split]
        self._length = dataset.num_examples if split == "train" else dataset.num_test_examples
        self._size = size_pair(dataset.image_size) or (1, 1)
        self.image_reader = ImageReader(size=self._size, fit="pad", decode_margin=None)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < self._length:
            raise IndexError(f"record {index} of {self._length}")
        dataset = self._dataset
        seed = np.random.SeedSequence([dataset.seed, self._number, index])
        generator = np.random.Generator(np.random.Philox(seed))
        ground = _ground(generator, self._size)
        count = int(generator.integers(0, dataset.max_objects + 1))
        boxes, classes, covers = _arranged(generator, self._size, count, dataset.sizes)
        colors = [ground.mean(axis=(0, 1))]
        for cover in covers:
            colors.append(_color(generator, colors))
            ground += cover[..., None] * (colors[-1] - ground)
        ground += dataset.noise * (generator.random(ground.shape, np.float32) - 0.5)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        objects = Objects(
            boxes=boxes,
            classes=np.asarray(classes, np.int32),
            ignored=np.zeros(len(boxes), bool),
            area=area,
        )
        return detection_record(
            np.clip(np.round(ground), 0, 255).astype(np.uint8),
            objects,
            size=None,
            fit="pad",
            max_boxes=dataset.max_objects,
            record=self.record_name(index),
        )

    def record_name(self, index: int) -> str:
        """`shapes train[index]`."""
        return f"shapes {self._split}[{index}]"


def _ground(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A muted, cloudy colour float32 [H, W, 3]: 3x3 to 6x6 random levels, bilinearly between."""
    cells = int(generator.integers(3, 7))
    grid = generator.random((cells, cells, 3), np.float32)
    for axis, length in enumerate(size):
        places = np.linspace(0, cells - 1, length, dtype=np.float32)
        lower = np.minimum(places.astype(np.int64), cells - 2)
        fraction = (places - lower.astype(np.float32)).reshape(-1, *[1] * (2 - axis))
        grid = (
            np.take(grid, lower, axis) * (1 - fraction) + np.take(grid, lower + 1, axis) * fraction
        )
    mean = generator.uniform(60, 190, 3).astype(np.float32)
    return mean + 70 * (grid - 0.5)


def _color(generator: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """A colour [3] in 0..255 that stands out from others; after many tries, the farthest found."""
    best, best_contrast = np.zeros(3, np.float32), -1.0
    for _ in range(_TRIES):
        color = generator.uniform(0, 255, 3).astype(np.float32)
        contrast = min(float(np.abs(color - other).max()) for other in others)
        if contrast > best_contrast:
            best, best_contrast = color, contrast
        if contrast >= _MIN_CONTRAST:
            break
    return best


def _arranged(
    generator: np.random.Generator,
    size: tuple[int, int],
    count: int,
    sizes: tuple[float, float],
) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
    """Up to `count` objects: boxes float32 [N, 4], classes, and what each covers, float [H, W]."""
    height, width = size
    boxes = np.zeros((0, 4), np.float32)
    classes: list[int] = []
    covers: list[np.ndarray] = []
    for _ in range(count):
        label = int(generator.integers(len(SHAPES)))
        for _ in range(_TRIES):
            side = generator.uniform(*sizes) * min(size)
            left, top = generator.uniform(0, width - side), generator.uniform(0, height - side)
            box = np.asarray([left, top, left + side, top + side], np.float32)
            overlap = _overlap(box, boxes).max(initial=0)
            if overlap > _MAX_OVERLAP:
                continue
            cover = _cover(label, left, top, side, size)
            if overlap == 0 or _visible_shares([*covers, cover]).min() >= _MIN_VISIBLE:
                boxes = np.concatenate([boxes, box[None]])
                classes.append(label)
                covers.append(cover)
                break
    return boxes, classes, covers


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection of a box [4] with others [N, 4], as a fraction of the smaller of the two: [N]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.maximum(sides, 0).prod(axis=1) / np.minimum(areas, (box[2:] - box[:2]).prod())


def _visible_shares(covers: list[np.ndarray]) -> np.ndarray:
    """Which fraction of each object is seen where later ones lie above earlier ones: [N]."""
    free = np.ones_like(covers[0])
    fractions = []
    for cover in reversed(covers):
        fractions.append((cover * free).sum() / cover.sum())
        free = free * (1 - cover)
    return np.asarray(fractions[::-1])


def _cover(label: int, left: float, top: float, side: float, size: tuple[int, int]) -> np.ndarray:
    """Share of each pixel that a shape covers, float32 [H, W].

    It is 1/2 minus the distance of the pixel's centre from the edge, in pixels, within [0, 1].
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    y, x = rows + 0.5 - (top + side / 2), columns + 0.5 - (left + side / 2)
    distance = _DISTANCE[SHAPES[label]](x, y, side / 2)
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


def _triangle(x: np.ndarray, y: np.ndarray, half: float) -> np.ndarray:
    """Apex above, base below, both as far as the box reaches."""
    slanted = (2 * np.abs(x) - y - half) / np.sqrt(5.0)
    return np.maximum(slanted, y - half)


# Distance from the edge, negative inside, of a shape centred at 0 in a box of side 2 half.
_DISTANCE: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "square": lambda x, y, half: np.maximum(np.abs(x), np.abs(y)) - half,
    "circle": lambda x, y, half: np.hypot(x, y) - half,
    "triangle": _triangle,
}
