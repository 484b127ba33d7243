"""Masks: decoded without changing a value, their meaning told, brought to a size as the image is."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    DecodeError,
    MaskValues,
    class_colors,
    decode_mask,
    encode_mask,
    fit_image,
    fit_mask,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 21, (12, 17)).astype(np.uint8)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


# ---- decoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_grey_levels_are_the_values(kind):
    np.testing.assert_array_equal(decode_mask(encode(LABELS, kind)), LABELS)


def test_a_palette_mask_is_its_indices():
    labels = np.where(LABELS == 20, 255, LABELS)
    data = encode_mask(labels)
    np.testing.assert_array_equal(decode_mask(data), labels)
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(picture[labels < 255], class_colors(20)[labels[labels < 255]])
    assert set(picture[labels == 255].ravel()) == {224}
    # A transparent index is an index like any other.
    clear = encode(Image.open(io.BytesIO(data)), transparency=3)
    np.testing.assert_array_equal(decode_mask(clear), labels)


def test_few_bits_and_many_bits():
    bits = LABELS > 10
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(bits))), bits)
    wide = LABELS.astype(np.uint16) * 300
    found = decode_mask(encode(wide))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, wide)
    few = Image.fromarray(LABELS % 4, "P")
    few.putpalette(class_colors(4).tobytes())
    np.testing.assert_array_equal(decode_mask(encode(few, bits=2)), LABELS % 4)


def test_colour_masks():
    colors = class_colors(21)[LABELS]
    np.testing.assert_array_equal(decode_mask(encode(colors), color=True), colors)
    np.testing.assert_array_equal(decode_mask(encode_mask(LABELS), color=True), colors)
    clear = np.dstack([colors, np.zeros_like(LABELS)])
    np.testing.assert_array_equal(decode_mask(encode(clear), color=True), colors)


def test_masks_of_the_wrong_kind_are_refused():
    colour, grey = encode(class_colors(21)[LABELS]), encode(LABELS)
    for data, color, message in (
        (colour, False, r"^cat\.png: is a colour mask .*'RGB'.* index mask was expected"),
        (grey, True, r"^cat\.png: is a grey mask, but a palette"),
        (encode(LABELS, "JPEG"), False, r"^cat\.png: a JPEG does not keep"),
        (grey[:-20], False, r"^cat\.png: the PNG is cut off"),
        (b"", False, r"^cat\.png: the file is empty"),
    ):
        with pytest.raises(DecodeError, match=message):
            decode_mask(data, record="cat.png", color=color)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_mask(encode(LABELS, exif=exif)).shape == (17, 12)
    assert decode_mask(encode(LABELS, exif=exif), apply_exif=False).shape == (12, 17)


# ---- values ------------------------------------------------------------------------------------


def test_values_by_hand():
    mask = np.asarray([[0, 1, 2], [3, 255, 7]], np.uint8)
    plain = MaskValues(num_classes=4, ignore_values=(7,))
    assert plain.labels(mask).tolist() == [[0, 1, 2], [3, 255, 255]]
    assert plain.labels(mask).dtype == np.uint8
    shifted = MaskValues(num_classes=3, class_values=(1, 2, 3), ignore_values=(0, 7))
    assert shifted.labels(mask).tolist() == [[255, 0, 1], [2, 255, 255]]
    # A stored value that is the ignore label may be a class.
    black_white = MaskValues(num_classes=2, class_values=(0, 255))
    assert black_white.labels(np.asarray([[0, 255]], np.uint8)).tolist() == [[0, 1]]
    many = MaskValues(num_classes=300, ignore_label=-1, ignore_values=(65535,))
    found = many.labels(np.asarray([[299, 65535]], np.uint16))
    assert (found.dtype, found.tolist()) == (np.int32, [[299, -1]])


def test_all_256_classes_and_all_ignored():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    values = MaskValues(num_classes=256, ignore_label=-1)
    np.testing.assert_array_equal(values.labels(every), every)
    ignored = np.full((3, 3), 255, np.uint8)
    np.testing.assert_array_equal(MaskValues(num_classes=2).labels(ignored), ignored)


def test_palette():
    palette = tuple(tuple(map(int, color)) for color in class_colors(21))
    values = MaskValues(
        num_classes=20, palette=palette[1:], ignore_colors=(palette[0], (224, 224, 192))
    )
    colors = class_colors(21)[LABELS]
    wanted = np.where(LABELS == 0, 255, LABELS - np.uint8(1))
    np.testing.assert_array_equal(values.labels(colors), wanted)
    colors[4, 5] = (1, 2, 3)
    colors[6, 7] = (255, 255, 255)
    with pytest.raises(
        ValueError, match=r"^a\.png: colour \(1, 2, 3\) at row 4, column 5 \(2 of 204 pixels"
    ):
        values.labels(colors, "a.png")


def test_a_value_without_meaning_is_named():
    mask = LABELS.copy()
    mask[3, 8] = 77
    with pytest.raises(
        ValueError,
        match=r"^a\.png: value 77 at row 3, column 8 \(1 of 204 pixels are like that\) is neither "
        r"a class \(0 to 20\) nor ignored \(255\)",
    ):
        MaskValues(num_classes=21).labels(mask, "a.png")
    with pytest.raises(ValueError, match=r"value 0 .*class \(1, 3, 9\) nor ignored \(7, 255\)"):
        MaskValues(num_classes=3, class_values=(1, 3, 9), ignore_values=(7,)).labels(mask * 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "class_names"),
        ({"num_classes": 12, "ignore_label": 11}, "ignore_label=11 is a class"),
        ({"num_classes": 3, "class_values": (1, 2)}, "class_values has 2 entries for 3 classes"),
        ({"num_classes": 2, "palette": ((0, 0, 0),)}, "palette has 1 entries for 2 classes"),
        ({"num_classes": 2, "class_values": (1, 1)}, "mask value 1 means two things"),
        ({"num_classes": 2, "ignore_values": (1,)}, "mask value 1 means two things"),
        ({"num_classes": 2, "class_values": (0, -1)}, "0 to 65535; found -1 to 0"),
        ({"num_classes": 1, "palette": ((0, 0, 256),)}, "0 to 255; found 0 to 256"),
        ({"num_classes": 1, "palette": ((0, 0, 0),), "ignore_values": (1,)}, "one or the other"),
        ({"num_classes": 1, "ignore_colors": ((0, 0, 0),)}, "needs a palette"),
    ],
)
def test_settings_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        MaskValues(**options)


# ---- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(24, 34), (24, 24), (40, 20), (6, 17)])
def test_a_mask_goes_where_its_image_goes(fit, size):
    mask = np.zeros((12, 17), np.uint8)
    mask[:, 9:] = 1
    mask[7:] += 2
    levels = np.asarray([10, 50, 110, 200])
    image = fit_image(levels.astype(np.uint8)[mask][..., None], size, fit)[..., 0]
    fitted = fit_mask(mask, size, fit)
    assert fitted.shape == size
    np.testing.assert_array_equal(fitted == 255, image == 0)
    # Where the image is not blended of two classes, the label is that of its level.
    pure = np.isin(image, levels)
    np.testing.assert_array_equal(levels[fitted[pure]], image[pure])
    assert pure.sum() > 0.6 * (fitted < 255).sum()


def test_enlarging_twice_repeats_each_label():
    np.testing.assert_array_equal(
        fit_mask(LABELS, (24, 34)), LABELS.repeat(2, axis=0).repeat(2, axis=1)
    )
    assert fit_mask(LABELS, None) is LABELS
    wide = LABELS.astype(np.int32) - 1
    padded = fit_mask(wide, (17, 17), "pad", ignore_label=-1)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded[2:14], wide)
    assert (padded[14:] == -1).all()


def test_class_colours_are_distinct():
    assert len(np.unique(class_colors(255), axis=0)) == 255


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros((2, 2)), np.full((2, 2), 256)])
def test_what_is_no_index_png(labels):
    with pytest.raises(ValueError, match="whole numbers"):
        encode_mask(labels)
