"""Detection on image files by a trained run: boxes at each image's own size, drawn and as COCO JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxcv.data.detection.objects import box_placement
from jaxcv.drawing.boxes import draw_boxes
from jaxcv.drawing.palettes import class_palette
from jaxcv.names import without_surrogates
from jaxcv.predict.images import unique_stems
from jaxcv.train.batch import preprocess_batch
from jaxcv.train.run import Run
from jaxcv.train.state import Variables


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: [N, 4] float32 (x0, y0, x1, y1) in pixels of the image.
        scores: [N] float32 in [0, 1].
        classes: [N] int32.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


Detector = Callable[[np.ndarray], Detections]


def make_detector(run: Run, variables: Variables) -> Detector:
    """Builds `detect(image) -> Detections` for images uint8 [H, W, C] of any size.

    The model sees an image as the data set fits its own: scaled to the size of training, with a
    black border or stretched. What is found is scaled back and cut off at the image's edges.

    Args:
        run: of a `Detection` task.
        variables: what the model applies.
    """
    experiment = run.experiment
    placed = jax.device_put(jax.device_get(variables), run.device_map.devices[0])
    height, width, _ = run.train_source[0]["image"].shape
    reader = run.image_reader.with_size((height, width))

    @jax.jit
    def predict(images: jax.Array) -> dict[str, jax.Array]:
        batch = preprocess_batch({"image": images}, experiment.preprocess)
        outputs = experiment.model.apply(placed, batch["image"], train=False)
        return experiment.task.predict(outputs)

    def detect(image: np.ndarray) -> Detections:
        size = (image.shape[0], image.shape[1])
        fitted = reader.fit_pixels(image)
        found = {name: np.asarray(x)[0] for name, x in predict(fitted[None]).items()}
        scale_x, scale_y, left, top = box_placement(size, reader.size, reader.fit)
        boxes = (found["boxes"] - [left, top, left, top]) / [scale_x, scale_y, scale_x, scale_y]
        boxes = np.clip(boxes, 0, [size[1], size[0], size[1], size[0]]).astype(np.float32)
        # Of what was found in the border alone nothing is left.
        real = (found["classes"] >= 0) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        return Detections(
            boxes=boxes[real], scores=found["scores"][real], classes=found["classes"][real]
        )

    return detect


def detect_files(
    run: Run,
    variables: Variables,
    files: Sequence[str],
    folder: str | Path,
    min_score: float = 0.3,
) -> Iterator[dict[str, Any]]:
    """Finds objects in image files, and gives a row for each, in order.

    `folder/images/STEM.jpg` is the image at its own size, upright by its EXIF orientation, with
    labelled boxes. `folder/detections.json` holds, once the iterator is at its end, all of them in
    COCO's format: `images`, `categories` and `annotations`, which have a `score` besides.

    Args:
        run: its data set says how the model sees images.
        variables: what the model applies.
        files: paths.
        folder: made where it does not exist; files of the same names in it are replaced.
        min_score: least score of a detection, in [0, 1].

    Returns:
        An iterator of `{"file", "drawn", "height", "width", "detections"}`, detections as `{"class",
        "score", "box"}` with boxes [x0, y0, x1, y1] in pixels; or of `{"file", "error"}` for a file that
        cannot be read.

    Raises:
        ValueError: at once, for a `min_score` that is no score.
    """
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score is {min_score}, but a score in [0, 1] is wanted")
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    return _rows(run, make_detector(run, variables), files, folder, min_score)


def _rows(
    run: Run, detect: Detector, files: Sequence[str], folder: Path, min_score: float
) -> Iterator[dict[str, Any]]:
    names = run.train_source.class_names
    palette = class_palette(names, run.experiment.data)
    table = CocoTable(names, getattr(run.train_source, "category_ids", range(1, len(names) + 1)))
    for file, stem in zip(files, unique_stems(files), strict=True):
        try:
            image = run.image_reader.read_whole(file)
        except (ValueError, OSError) as error:
            yield {"file": file, "error": str(error)}
            continue
        found = detect(image)
        sure = found.scores >= min_score
        boxes, scores, classes = found.boxes[sure], found.scores[sure], found.classes[sure]
        labels = [f"{names[c]} {score:.2f}" for c, score in zip(classes, scores)]
        drawn = folder / "images" / f"{stem}.jpg"
        Image.fromarray(draw_boxes(image, boxes, labels, palette[classes])).save(drawn, quality=92)
        height, width = image.shape[:2]
        table.add(file, (height, width), boxes, scores, classes)
        yield {
            "file": file,
            "drawn": os.fspath(drawn),
            "height": height,
            "width": width,
            "detections": [
                {"class": names[c], "score": round(float(score), 4), "box": rounded(box)}
                for box, score, c in zip(boxes, scores, classes)
            ],
        }
    (folder / "detections.json").write_text(json.dumps(without_surrogates(table.content())) + "\n")


class CocoTable:
    """Detections on several images in COCO's format.

    Args:
        class_names: [C].
        category_ids: [C] COCO's id of each class.
    """

    def __init__(self, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
        self._ids = [int(i) for i in category_ids]
        self._categories = [{"id": i, "name": n} for i, n in zip(self._ids, class_names)]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        file: str,
        size: tuple[int, int],
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        """Adds an image of `size` (height, width) with boxes [N, 4], scores [N] and classes [N]."""
        image_id = len(self._images) + 1
        self._images.append(
            {"id": image_id, "file_name": file, "height": size[0], "width": size[1]}
        )
        for box, score, c in zip(boxes, scores, classes):
            x0, y0, x1, y1 = box.tolist()
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": self._ids[c],
                    "bbox": rounded((x0, y0, x1 - x0, y1 - y0)),
                    "area": round((x1 - x0) * (y1 - y0), 2),
                    "iscrowd": 0,
                    "score": float(score),
                }
            )

    def content(self) -> dict[str, Any]:
        """The whole, to be written as JSON."""
        return {
            "images": self._images,
            "categories": self._categories,
            "annotations": self._annotations,
        }


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Pixels to a hundredth, as plain numbers."""
    return [round(float(value), 2) for value in values]
