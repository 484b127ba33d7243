"""Detection data sets of TensorFlow Datasets: an image and its objects in each record."""

import dataclasses
from typing import Any, get_args

import numpy as np

from jaxcv.arguments import check_choice
from jaxcv.data.detection.objects import (
    MAX_BOXES,
    BoxCounts,
    BoxTally,
    Objects,
    OnBadBox,
    check_settings,
    checked_objects,
    detection_record,
)
from jaxcv.data.fit import Fit
from jaxcv.data.orientation import (
    Header,
    MarkedOn,
    read_header,
    upright_boxes,
)
from jaxcv.data.source import Record, Source, Split
from jaxcv.data.tfds import TFDS, TFDSSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFDSDetection(TFDS):
    """A prepared TFDS data set with a sequence of objects beside each image, read without TensorFlow.

    TFDS keeps a box as (ymin, xmin, ymax, xmax) in fractions of the image's sides. What becomes of boxes
    outside the image or without area is told in `objects`; what each has a record of, in
    `detection_record`.

    How well-known ones are written:

    - `voc/2007`, `voc/2012`: `ignored_key="is_difficult"`. (TFDS keeps VOC's own pixel numbers, which
      count from 1: its boxes lie up to a pixel to the right and below.)
    - `coco/2017`: `test_split="validation"`; its test split has no annotations.

    Attributes:
      label_key: name of the feature that holds the objects, a sequence.
      box_key: name of the box within an object.
      class_key: name of the class within an object.
      ignored_key: name of the mark within an object by which it need not be found, such as
        `is_crowd` or `is_difficult`; "" for none; None takes either of these two where it is there.
      area_key: name of the area within an object, in pixels; objects without it have their box's.
      max_boxes: rows M of a record; an image with more objects is an error.
      on_bad_box: whether a box without area is dropped and counted, or raises.
      boxes_on: whether boxes are those of the pixels as stored, which is how TFDS decodes them, or of
        the upright image; the images are upright in either case, see `orientation`.

    The other fields are those of `TFDS`; `fit` is `pad` or `stretch`.

    Example:
      >>> TFDSDetection(name="bccd", size=320, test_split="val").fit
      'pad'
    """

    label_key: str = "objects"
    box_key: str = "bbox"
    class_key: str = "label"
    ignored_key: str | None = None
    area_key: str = "area"
    fit: Fit = "pad"
    max_boxes: int = MAX_BOXES
    on_bad_box: OnBadBox = "drop"
    boxes_on: MarkedOn = "stored"

    def open(self, split: Split) -> Source:
        """Opens a split; records are read when asked for."""
        check_settings(self.fit, self.max_boxes, self.on_bad_box)
        check_choice("boxes_on", self.boxes_on, get_args(MarkedOn))
        return super().open(split)

    def _source(self, split: str) -> "TFDSDetectionSource":
        return TFDSDetectionSource(self, split)


class TFDSDetectionSource(TFDSSource):
    """One split of a prepared data set of images and objects."""

    _dataset: TFDSDetection
    _label_in_image = True

    def _open_label(self, tfds: Any, label: Any) -> None:
        data = self._dataset
        # A sequence of dicts is a dict of sequences, which are told by their inner feature.
        inner = getattr(label, "feature", None)
        parts = dict(inner) if isinstance(inner, tfds.features.FeaturesDict) else {}
        wanted = [data.box_key, data.class_key, *([data.ignored_key] if data.ignored_key else [])]
        for key in wanted:
            if key not in parts:
                raise ValueError(
                    f"feature {data.label_key!r} of {data.name!r} is not a sequence of objects with "
                    f"{key!r}; it has {', '.join(sorted(parts)) or label}. Name the feature with "
                    "label_key, its parts with box_key, class_key and ignored_key"
                )
        box, number = parts[data.box_key], parts[data.class_key]
        layout = getattr(box, "bbox_format", None)
        if not isinstance(box, tfds.features.BBoxFeature) or (
            layout is not None and layout.value != "REL_YXYX"
        ):
            raise ValueError(
                f"{data.box_key!r} in {data.label_key!r} of {data.name!r} is not a box (ymin, xmin, "
                f"ymax, xmax) in fractions of the image's sides: {box}"
            )
        if not isinstance(number, tfds.features.ClassLabel):
            raise ValueError(
                f"{data.class_key!r} in {data.label_key!r} of {data.name!r} is not a class: {number}"
            )
        self.class_names = tuple(map(number.int2str, range(number.num_classes)))
        marks = ("is_crowd", "is_difficult") if data.ignored_key is None else (data.ignored_key,)
        self._ignored_key = next((key for key in marks if key in parts), None)
        self._area_key = data.area_key if data.area_key in parts else None
        self._tally = BoxTally(self._name)

    @property
    def box_counts(self) -> BoxCounts:
        """Boxes clipped and dropped in the records that have been read so far."""
        return self._tally.total

    def _record(self, index: int, stored: dict[str, Any]) -> Record:
        data, name = self._dataset, self.record_name(index)
        image = self._image(index, stored)
        header = Header((image.shape[0], image.shape[1]))
        if self._encoded and data.boxes_on == "stored":
            header = read_header(stored[data.image_key]) or header
        objects, counts = self._objects(stored[data.label_key], header, name)
        self._tally.add(index, counts, name)
        return detection_record(
            image,
            objects,
            size=data.size,
            fit=data.fit,
            max_boxes=data.max_boxes,
            record=name,
        )

    def _objects(
        self, stored: dict[str, Any], header: Header, record: str
    ) -> tuple[Objects, BoxCounts]:
        """The objects of one record, in pixels of the upright image."""
        data = self._dataset
        height, width = header.annotated_size(data.boxes_on)
        # A list of arrays, or an array; a list of none has no width.
        fractions = np.asarray(stored[data.box_key], np.float64).reshape(-1, 4)
        objects, counts = checked_objects(
            fractions[:, [1, 0, 3, 2]] * (width, height, width, height),
            stored[data.class_key],
            size=(height, width),
            record=record,
            ignored=None if self._ignored_key is None else stored[self._ignored_key],
            area=None if self._area_key is None else stored[self._area_key],
            on_bad_box=data.on_bad_box,
        )
        if data.boxes_on == "stored":
            objects = dataclasses.replace(objects, boxes=upright_boxes(objects.boxes, header))
        return objects, counts
