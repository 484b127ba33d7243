"""Data sets of which only the shapes are known, to compile for what is not on the disk."""

import contextlib
import dataclasses
from typing import Any

import numpy as np

# Pictures [H, W, C] as they are stored, of data sets that presets read at their own size: by the name in
# TFDS, or by the class of the data set. InsightFace's record files hold faces aligned to 112x112.
STORED = {
    "cifar10": (32, 32, 3),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "orl_faces": (112, 92, 1),
    "cityscapes/semantic_segmentation": (1024, 2048, 3),
    "RecordIO": (112, 112, 3),
}
# Where the number of records is not known: no shape depends on it, only when a schedule ends.
EPOCH = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Described:
    """A data set of zeros: every record has the shapes of one that was described."""

    record: dict[str, np.ndarray]
    length: int
    random_rectangle: Any = None
    class_names: tuple[str, ...] = ()

    def open(self, split: str) -> "Described":
        """All splits are alike."""
        return self

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.record

    @property
    def labels(self) -> np.ndarray:
        """[N] the label of each record, where it is a scalar."""
        return np.full(self.length, self.record["label"])

    def record_name(self, index: int) -> str:
        """For messages."""
        return f"described record {index}"


def described(experiment: Any, shape: tuple[int, int, int] | None = None) -> Described:
    """Stands in for the data of an experiment.

    Args:
        experiment: whose data set, task and batch size.
        shape: of a picture as the data set gives it; None takes it from the data if they are there, else
            from the data set's own `size` and `channels`, or `STORED`.

    Raises:
        ValueError: where nothing tells the shape.
    """
    length = EPOCH * experiment.batch_size
    if shape is None:
        with contextlib.suppress(ValueError, OSError):
            source = experiment.data.open("train")
            record = {name: np.zeros_like(value) for name, value in source[0].items()}
            rectangle = getattr(source, "random_rectangle", None)
            return Described(record, len(source), rectangle, source.class_names)
    data = experiment.data
    while hasattr(data, "data"):  # a data set of people's wraps another
        data = data.data
    image = np.zeros(shape or _image_shape(data), np.uint8)
    record = {"image": image, **_annotations(experiment.task, data, image.shape[:2])}
    return Described(record, length, getattr(data, "random_rectangle", None))


def _image_shape(data: Any) -> tuple[int, int, int]:
    stored = STORED.get(getattr(data, "name", type(data).__name__))
    size = getattr(data, "size", None) or (stored and stored[:2])
    if size is None:
        raise ValueError(
            f"nothing says how large the pictures of {data} are; give --image-shape HEIGHT WIDTH CHANNELS"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return height, width, data.channels or (stored[2] if stored else 3)


def _annotations(task: Any, data: Any, size: tuple[int, int]) -> dict[str, np.ndarray]:
    if "boxes" in task.annotations:
        count = data.max_boxes
        return {
            "boxes": np.zeros((count, 4), np.float32),
            "classes": np.full(count, -1, np.int32),
            "ignored": np.zeros(count, bool),
            "area": np.zeros(count, np.float32),
            "placement": np.zeros(4, np.float32),
            "image_size": np.zeros(2, np.int32),
        }
    if task.ignore_label is not None:  # a label for every pixel
        return {"label": np.zeros(size, np.uint8)}
    return {"label": np.zeros((), np.float32 if task.class_count() is None else np.int32)}
