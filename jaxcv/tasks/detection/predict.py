"""Detection on image files by a trained run: boxes at each image's own size, drawn and as COCO JSON."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxcv.atomic import replacing, write_text
from jaxcv.data import Source
from jaxcv.data.detection.objects import box_placement
from jaxcv.drawing.boxes import draw_boxes
from jaxcv.drawing.palettes import class_palette
from jaxcv.json_file import json_text
from jaxcv.names import without_surrogates
from jaxcv.predict.images import unique_stems
from jaxcv.tasks.detection.coco_results import CocoTable, known_images, rounded
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
    task: Any = experiment.task
    placed = jax.device_put(jax.device_get(variables), run.device_map.devices[0])
    reader = run.sized_image_reader

    @jax.jit
    def predict(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        batch = preprocess_batch(batch, experiment.preprocess)
        outputs: Any = experiment.model.apply(placed, batch["image"], train=False)
        return task.detect(outputs, batch)

    def detect(image: np.ndarray) -> Detections:
        size = (image.shape[0], image.shape[1])
        record = {
            "image": reader.fit_pixels(image),
            "placement": box_placement(size, reader.size, reader.fit).astype(np.float32),
            "image_size": np.asarray(size, np.int32),
        }
        batch = {name: jnp.asarray(value)[None] for name, value in record.items()}
        found = {name: np.asarray(x)[0] for name, x in predict(batch).items()}
        real = found["classes"] >= 0
        return Detections(**{name: values[real] for name, values in found.items()})

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
    COCO's format: `images`, `categories` and `annotations`, which have a `score` besides. Files of a
    data set in COCO's format keep its ids, see `CocoTable`; `info` says whose ids there are.

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


def _sources(run: Run) -> list[Source]:
    """The sources of the run's data set: those that there are, and that are still where they were."""
    splits: tuple[Callable[[], Source], ...] = (
        lambda: run.train_source,
        lambda: run.test_source,
        lambda: run.experiment.data.open("validation"),
    )
    sources = []
    for opened in splits:
        with contextlib.suppress(ValueError, OSError):
            sources.append(opened())
    return sources


def _rows(
    run: Run, detect: Detector, files: Sequence[str], folder: Path, min_score: float
) -> Iterator[dict[str, Any]]:
    names = run.class_names
    palette = class_palette(names, run.experiment.data)
    # Only data sets in COCO's format have ids of their own for images.
    known = known_images(_sources(run)) if run.data.category_ids else None
    table = CocoTable(names, run.data.category_ids or range(1, len(names) + 1), known)
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
        picture = Image.fromarray(draw_boxes(image, boxes, labels, palette[classes]))
        with replacing(drawn) as part:
            picture.save(part, quality=92)
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
    found = without_surrogates(table.content())
    write_text(folder / "detections.json", json_text(found) + "\n")
