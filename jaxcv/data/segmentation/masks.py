"""Label maps in files: decoding a mask, what its values mean, bringing it to a size, writing one.

A mask is kept in one of two ways, and nothing guesses which:

- **index**: one number a pixel, in a grey image or as the *index* of a palette image (its colours
  are only for looking at, as in Pascal VOC);
- **colour**: an RGB value a pixel, whose meaning a palette tells.

`MaskValues` turns either into labels 0 .. C - 1 and the ignore label, and refuses any value that
it was not told about.
"""

import dataclasses
import io
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from jaxcv.data.decode import MAX_PIXELS, decode_with
from jaxcv.data.encoded.samples import FormatError, Samples, is_grey, stored_levels
from jaxcv.data.fit import Fit, Size, placement, size_pair

IGNORE_LABEL = 255
Color = tuple[int, int, int]


def decode_mask(
    data: bytes,
    *,
    record: str = "mask",
    color: bool = False,
    max_pixels: int = MAX_PIXELS,
    apply_exif: bool = True,
) -> np.ndarray:
    """Decodes one mask, without changing a value.

    Args:
      data: the bytes of the file: any format of `decode_image` that is lossless, which JPEG, lossy WebP
        and TIFFs that hold either are not.
      record: what to call the mask in an error message.
      color: whether it is a colour mask.
      max_pixels: as in `decode_image`.
      apply_exif: as in `decode_image`.

    Returns:
      uint8 or uint16 [H, W]: the numbers as the file holds them, 0 to 2^bits - 1 (or maxval), whether
      0 is black or white there; or the indices of a palette image. Signed numbers, 32-bit ones and
      floats (TIFF) are accepted where each is a whole number from 0 to 65535. With `color`, uint8
      [H, W, 3]; a palette is looked up, transparency is passed over.

    Raises:
      DecodeError: the bytes are no whole mask, or one of the other kind, or hold values that the
        result could not.
    """

    def values(image: Image.Image, samples: Samples) -> np.ndarray:
        wrong = samples.lossy or wrong_kind(image, color=color) or (color and samples.coarse)
        if wrong:
            raise FormatError(wrong)
        return np.array(image.convert("RGB")) if color else _indices(image, samples)

    return decode_with(data, values, record=record, max_pixels=max_pixels, apply_exif=apply_exif)


def _indices(image: Image.Image, samples: Samples) -> np.ndarray:
    """uint8 or uint16 [H, W] of a grey image or of one with a palette, as loaded."""
    found = stored_levels(image, samples) if is_grey(image) else np.array(image)
    if found.dtype == np.uint8:
        return found
    whole = (found >= 0) & (found <= 65535) & (np.floor(found) == found)
    if not whole.all():
        row, column = np.argwhere(~whole)[0]
        raise FormatError(
            f"value {found[row, column]} at row {row}, column {column} is no whole number from 0 to "
            f"65535; {int((~whole).sum())} of {found.size} pixels are like that"
        )
    exact = found.astype(np.uint16)
    return exact.astype(np.uint8) if found.dtype == np.int8 or samples.maximum < 256 else exact


def wrong_kind(image: Image.Image, *, color: bool) -> str | None:
    """What keeps an opened image from being a mask of the expected kind; None where nothing does.

    Args:
      image: as opened; its pixels need not be loaded.
      color: whether a colour mask is expected.
    """
    grey = is_grey(image)
    if image.format in ("JPEG", "MPO"):
        return "a JPEG does not keep the values of a mask; save it as PNG"
    if color and grey:
        return "is a grey mask, but a palette of colours was given, so a colour mask is expected"
    if not color and not grey and image.mode != "P":
        return (
            f"is a colour mask (Pillow's mode {image.mode!r}), but an index mask was expected: give "
            "the colour of each class (palette), or save it with one channel of class numbers"
        )
    return None


def fit_mask(
    mask: np.ndarray, size: Size, fit: Fit = "stretch", ignore_label: int = IGNORE_LABEL
) -> np.ndarray:
    """Resizes a label map as `fit_image` does its image: nearest pixel, and ignore for black.

    Args:
      mask: integers [H, W].
      size: as for `fit_image`.
      fit: as for `fit_image`.
      ignore_label: fills what `pad` adds.

    Returns:
      [height, width] in the dtype of `mask`; the input itself where it already has that shape.

    Example:
      >>> fit_mask(np.asarray([[1, 2]], np.uint8), 2, "pad").tolist()
      [[1, 2], [255, 255]]
    """
    target = size_pair(size)
    if target is None or mask.shape == target:
        return mask
    place = placement((mask.shape[0], mask.shape[1]), target, fit)
    left, top, right, bottom = place.box
    rows = _nearest(top, bottom, place.size[0], mask.shape[0])
    columns = _nearest(left, right, place.size[1], mask.shape[1])
    fitted = np.full(target, ignore_label, mask.dtype)
    fitted[place.window] = mask[rows[:, None], columns[None, :]]
    return fitted


def _nearest(start: float, stop: float, count: int, length: int) -> np.ndarray:
    """Which of `length` pixels the centres of `count` equal parts of [start, stop] lie in."""
    points = start + (np.arange(count) + 0.5) * ((stop - start) / count)
    return np.clip(np.floor(points).astype(np.int64), 0, length - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskValues:
    """What the values stored in masks mean.

    Attributes:
      num_classes: C; labels are 0 .. C - 1.
      class_values: [C] the stored value of each class; None: the label itself.
      ignore_values: stored values that become the ignore label, besides that label itself where no
        class has it.
      ignore_label: label of pixels that do not count; no class.
      palette: [C] the colour of each class, for colour masks; None: index masks.
      ignore_colors: colours that become the ignore label, in colour masks.

    Raises:
      ValueError: values that contradict each other.

    Example:
      >>> pets = MaskValues(num_classes=3, class_values=(1, 2, 3))
      >>> pets.labels(np.asarray([[1, 3, 255]], np.uint8)).tolist()
      [[0, 2, 255]]
    """

    num_classes: int
    class_values: tuple[int, ...] | None = None
    ignore_values: tuple[int, ...] = ()
    ignore_label: int = IGNORE_LABEL
    palette: tuple[Color, ...] | None = None
    ignore_colors: tuple[Color, ...] = ()

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(
                "masks need class_names, the name of each class in the order of labels"
            )
        if 0 <= self.ignore_label < self.num_classes:
            raise ValueError(
                f"ignore_label={self.ignore_label} is a class: there are {self.num_classes}, from 0"
            )
        if self.palette is not None and (self.class_values is not None or self.ignore_values):
            raise ValueError(
                "a palette is for colour masks, class_values and ignore_values for index masks; "
                "give one or the other (ignore_colors goes with the palette)"
            )
        if self.palette is None and self.ignore_colors:
            raise ValueError("ignore_colors needs a palette, the colour of each class")
        stored = self._stored()
        if len(stored) != self.num_classes:
            name = "class_values" if self.palette is None else "palette"
            raise ValueError(f"{name} has {len(stored)} entries for {self.num_classes} classes")
        every = [*stored, *self._ignored()]
        repeated = {value for value in every if every.count(value) > 1}
        if repeated:
            raise ValueError(f"the mask value {repeated.pop()} means two things")
        parts = [
            part for value in every for part in (value if isinstance(value, tuple) else [value])
        ]
        largest = 65535 if self.palette is None else 255
        if not all(0 <= part <= largest for part in parts):
            raise ValueError(
                f"mask values lie in 0 to {largest}; found {min(parts)} to {max(parts)}"
            )

    @property
    def dtype(self) -> np.dtype:
        """uint8 where it holds every label, else int32."""
        small = self.num_classes <= 256 and 0 <= self.ignore_label <= 255
        return np.dtype(np.uint8 if small else np.int32)

    def labels(self, mask: np.ndarray, record: str = "mask") -> np.ndarray:
        """Returns the labels [H, W] of a mask as `decode_mask` gives it.

        Raises:
          ValueError: a value without a meaning; says which, where and how often.
        """
        codes = mask if self.palette is None else _packed(mask)
        if self.palette is None:
            labels, known = self._tables
            found, valid = labels.take(codes), known.take(codes)
        else:
            order, labels = self._colors
            place = np.minimum(np.searchsorted(order, codes), len(order) - 1)
            found, valid = labels[place], order[place] == codes
        if not valid.all():
            raise ValueError(f"{record}: {self._complaint(mask, valid)}")
        return found

    def _stored(self) -> Sequence[int] | Sequence[Color]:
        if self.palette is not None:
            return self.palette
        return range(self.num_classes) if self.class_values is None else self.class_values

    def _ignored(self) -> tuple[int, ...] | tuple[Color, ...]:
        return self.ignore_values if self.palette is None else self.ignore_colors

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Label of every 16-bit value, and whether it has one."""
        labels, known = np.zeros(65536, self.dtype), np.zeros(65536, bool)
        if 0 <= self.ignore_label < len(known):
            labels[self.ignore_label], known[self.ignore_label] = self.ignore_label, True
        for value in self.ignore_values:
            labels[value], known[value] = self.ignore_label, True
        stored = np.asarray(self._stored())
        labels[stored], known[stored] = np.arange(self.num_classes), True
        return labels, known

    @cached_property
    def _colors(self) -> tuple[np.ndarray, np.ndarray]:
        """Packed colours in ascending order, and their labels."""
        codes = _packed(np.asarray([*self._stored(), *self._ignored()], np.uint8))
        ignored = [self.ignore_label] * len(self.ignore_colors)
        labels = np.asarray([*range(self.num_classes), *ignored]).astype(self.dtype)
        order = np.argsort(codes)
        return codes[order], labels[order]

    def _complaint(self, mask: np.ndarray, valid: np.ndarray) -> str:
        row, column = np.argwhere(~valid)[0]
        value, count = mask[row, column], int((~valid).sum())
        if self.palette is None:
            stored = list(self.class_values or range(self.num_classes))
            if stored == list(range(stored[0], stored[-1] + 1)):
                known = f"{stored[0]} to {stored[-1]}"
            else:
                known = ", ".join(map(str, stored[:12])) + (", ..." if len(stored) > 12 else "")
            ignored = ", ".join(map(str, (*self.ignore_values, self.ignore_label)))
            what = f"value {value}"
            rest = f"neither a class ({known}) nor ignored ({ignored}); see ignore_values"
        else:
            what = f"colour {tuple(map(int, value))}"
            rest = "neither in the palette nor in ignore_colors"
        where = f"at row {row}, column {column}"
        return f"{what} {where} ({count} of {valid.size} pixels are like that) is {rest}"


def _packed(colors: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] as one int32 each."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def class_colors(count: int) -> np.ndarray:
    """Returns uint8 [count, 3], a colour for each class, far apart for neighbours.

    The bits of the class number, three at a time, go to the high bits of red, green and blue: the
    colours of the masks of Pascal VOC (its development kit, VOClabelcolormap), the first black.

    Example:
      >>> class_colors(3).tolist()
      [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    numbers, colors = np.arange(count), np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = numbers >> (3 * place + channel) & 1
            colors[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colors


def encode_mask(labels: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    """Returns labels as a PNG that `decode_mask` reads back exactly.

    Args:
      labels: integers [H, W] in 0 .. 255: written as a palette image, whose indices they are.
      colors: uint8 [C, 3], colours to look at; None takes `class_colors`. A label without a colour,
        such as the ignore label, is shown in a light grey.

    Raises:
      ValueError: labels that are no such numbers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 255:
        raise ValueError(
            f"a mask needs whole numbers [H, W] from 0 to 255; found {labels.dtype} {labels.shape}"
        )
    shown = np.full((256, 3), 224, np.uint8)
    colors = class_colors(255) if colors is None else colors
    shown[: len(colors)] = colors
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(shown.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
