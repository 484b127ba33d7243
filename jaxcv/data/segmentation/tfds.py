"""Segmentation data sets of TensorFlow Datasets: an image and a mask in each record."""

import dataclasses
from typing import Any, get_args

import numpy as np

from jaxcv.arguments import check_choice
from jaxcv.data.orientation import MarkedOn, read_header, upright_pixels
from jaxcv.data.segmentation.folder import check_mask_size
from jaxcv.data.segmentation.masks import IGNORE_LABEL, MaskValues, decode_mask, fit_mask
from jaxcv.data.source import Record, Source, Split
from jaxcv.data.tfds import TFDS, TFDSSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFDSSegmentation(TFDS):
    """A prepared TFDS data set with an index mask beside each image, read without TensorFlow.

    How well-known ones are written (with `PETS`, `CITYSCAPES` and so on for the classes):

    - `oxford_iiit_pet`: `label_key="segmentation_mask"`, `class_values=(1, 2, 3)`;
    - `scene_parse150`: `label_key="annotation"`, `class_values=tuple(range(1, 151))`,
      `ignore_values=(0,)`;
    - `cityscapes/semantic_segmentation`: `image_key="image_left"`, `class_values` and
      `ignore_values` of `CITYSCAPES`, `test_split="validation"`.

    Attributes:
      class_names: name of each class, in the order of the labels: TFDS keeps none for masks.
      label_key: name of the feature that holds the mask.
      class_values: see `MaskValues`.
      ignore_values: see `MaskValues`.
      ignore_label: see `MaskValues`.
      masks_on: whether masks are those of the pixels as stored, which is how TFDS decodes them, or of
        the upright image; image and mask are upright in either case, see `orientation`.

    The other fields are those of `TFDS`; `size` and `fit` hold for the masks too, see `fit_mask`.
    """

    class_names: tuple[str, ...]
    label_key: str = "segmentation_label"
    class_values: tuple[int, ...] | None = None
    ignore_values: tuple[int, ...] = ()
    ignore_label: int = IGNORE_LABEL
    masks_on: MarkedOn = "stored"

    def open(self, split: Split) -> Source:
        """Opens a split; records are read when asked for."""
        check_choice("masks_on", self.masks_on, get_args(MarkedOn))
        return super().open(split)

    def _source(self, split: str) -> "TFDSMaskSource":
        return TFDSMaskSource(self, split)


class TFDSMaskSource(TFDSSource):
    """One split of a prepared data set of images and masks."""

    _dataset: TFDSSegmentation
    _label_in_image = True

    def _open_label(self, tfds: Any, label: Any) -> None:
        data = self._dataset
        self._mask_encoded = isinstance(label, tfds.features.Image)
        shape = label.shape if isinstance(label.shape, tuple) else ()
        # A mask that was encoded from a file may be declared with three channels, the default.
        channels = ((), (1,), (3,)) if self._mask_encoded else ((), (1,))
        unsigned = label.np_dtype in (np.uint8, np.uint16)
        if len(shape) < 2 or shape[2:] not in channels or not unsigned:
            raise ValueError(
                f"feature {data.label_key!r} of {data.name!r} is not a label map: {label}"
            )
        self.class_names = data.class_names
        self._values = MaskValues(
            num_classes=len(data.class_names),
            class_values=data.class_values,
            ignore_values=data.ignore_values,
            ignore_label=data.ignore_label,
        )

    def _record(self, index: int, stored: dict[str, Any]) -> Record:
        data, name = self._dataset, self.record_name(index)
        image, mask = self._image(index, stored), stored[data.label_key]
        if self._mask_encoded:
            upright = data.masks_on == "upright"
            mask = decode_mask(mask, record=name, max_pixels=data.max_pixels, apply_exif=upright)
        elif mask.ndim == 3:
            mask = mask[..., 0]
        if self._encoded and data.masks_on == "stored":
            header = read_header(stored[data.image_key])
            mask = upright_pixels(mask, header.orientation if header else 1)
        check_mask_size(mask.shape, image.shape, name)
        labels = self._values.labels(mask, name)
        return {
            "image": self.image_reader.fit_pixels(image),
            "label": fit_mask(labels, data.size, data.fit, data.ignore_label),
        }
