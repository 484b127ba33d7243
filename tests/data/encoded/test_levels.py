"""The numbers that files store, whatever their depth, order and layout: files written by hand."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcv.data import (
    DecodeError,
    ImageReader,
    MaskValues,
    decode_image,
    decode_mask,
    fit_image,
)
from jaxcv.data.fit import Placement, fitting
from jaxcv.data.orientation import read_header
from jaxcv.data.view import decode_view
from tests.data import written_images as write

# EXIF 2.32, tag 274: from the stored rows to the upright picture.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


def brightness(levels, maximum, white_is_zero=False):
    """uint8 by the rule: round(255 v / maximum), half upwards, inverted where white is zero."""
    shown = (levels.astype(np.int64) * 510 + maximum) // (2 * maximum)
    return (255 - shown if white_is_zero else shown).astype(np.uint8)


def draw_levels(data, maximum, dtype=np.int64):
    """[H, W] levels of 0 to maximum, both among them."""
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    levels = np.random.default_rng(seed).integers(0, maximum + 1, (height, width))
    levels.flat[0], levels.flat[-1] = 0, maximum
    return levels.astype(dtype)


def unsigned(levels, bits):
    return levels.astype(np.uint32 if bits == 32 else np.uint16 if bits > 8 else np.uint8)


# ---- TIFF --------------------------------------------------------------------------------------

LAYOUTS = st.one_of(
    st.fixed_dictionaries({"rows_per_strip": st.sampled_from([None, 1, 5, 64])}),
    st.fixed_dictionaries({"tile": st.sampled_from([(16, 16), (16, 48), (32, 16)])}),
)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    bits=st.sampled_from([1, 2, 4, 8, 12, 16]),
    white_is_zero=st.booleans(),
    order=st.sampled_from("<>"),
    orientation=st.sampled_from([None, *UPRIGHT]),
    layout=LAYOUTS,
    compression=st.sampled_from([1, 8]),
)
def test_grey_tiff_of_any_depth_order_layout_and_orientation(
    data, bits, white_is_zero, order, orientation, layout, compression
):
    maximum = 2**bits - 1
    levels = unsigned(draw_levels(data, maximum), bits)
    order = "<" if bits == 12 else order
    file = write.tiff(
        levels,
        bits,
        photometric=0 if white_is_zero else 1,
        order=order,
        big=order == "<" and data.draw(st.booleans()),
        orientation=orientation,
        compression=compression,
        **layout,
    )
    stored = UPRIGHT[orientation or 1](levels)
    mask = decode_mask(file)
    np.testing.assert_array_equal(mask, stored)
    assert mask.dtype == (np.uint8 if bits <= 8 else np.uint16)
    shown = brightness(stored, maximum, white_is_zero)
    # A TIFF's orientation is a part of it, whatever is wanted of EXIF.
    for apply_exif in (True, False):
        found = decode_image(file, channels=1, apply_exif=apply_exif)
        np.testing.assert_array_equal(found[..., 0], shown)
    size = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    for fit in ("stretch", "crop", "pad"):
        np.testing.assert_array_equal(
            decode_view(file, fitting(size, fit), size, channels=1),
            fit_image(shown[..., None], size, fit),
        )


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_view_of_a_turned_tiff_shows_any_part_of_it(orientation):
    levels = np.arange(12, dtype=np.uint8)[:, None] * 20 + np.arange(20, dtype=np.uint8)
    file = write.tiff(levels, 8, orientation=orientation)
    upright = UPRIGHT[orientation](levels)
    height, width = upright.shape
    for row in range(height):
        for column in range(width):
            box = (column, row, column + 1, row + 1)

            def view(size, box=box):
                assert size == (height, width)
                return Placement(box, (1, 1))

            found = decode_view(file, view, (1, 1), channels=1)
            assert found[0, 0, 0] == upright[row, column]


@pytest.mark.parametrize("more", [[], [(700, 1, list(b'<a tiff:Orientation="8"/>'))]])
@pytest.mark.parametrize("orientation", [None, *UPRIGHT])
def test_the_header_of_a_tiff_tells_the_size_that_is_decoded(tmp_path, orientation, more):
    """Also where XMP tells another orientation: the tag counts."""
    file = write.tiff(np.zeros((4, 6), np.uint8), 8, orientation=orientation, more=more)
    (tmp_path / "a.tif").write_bytes(file)
    shape = decode_image(file).shape[:2]
    assert shape == UPRIGHT[orientation or 1](np.zeros((4, 6))).shape
    for where in (file, tmp_path / "a.tif"):
        header = read_header(where)
        assert (header.upright_size, header.stored_size) == (shape, (4, 6))
        assert header.orientation == (orientation or 1)
    reader = ImageReader(size=(5, 3), fit="stretch", apply_exif=False)
    assert reader.read(tmp_path / "a.tif").shape == (5, 3, 3)


def ink(colours):
    return (255 - colours[..., :3]) * (255 - colours[..., 3:]) / 255


def jpeg_colours(values):
    luma, blue, red = values[..., 0], values[..., 1] - 128, values[..., 2] - 128
    parts = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    return np.clip(np.stack(parts, -1), 0, 255)


def over_white(colours, alpha, premultiplied=False):
    weight = alpha / 255
    return (colours if premultiplied else colours * weight) + 255 * (1 - weight)


COLOURS = {
    # name: samples, options, what is seen
    "rgb": (3, {"photometric": 2}, lambda v: v),
    "rgb and more": (4, {"photometric": 2, "extra": (0,)}, lambda v: v[..., :3]),
    "rgb, alpha": (
        4,
        {"photometric": 2, "extra": (2,)},
        lambda v: over_white(v[..., :3], v[..., 3:]),
    ),
    "rgb, premultiplied": (
        4,
        {"photometric": 2, "extra": (1,)},
        lambda v: over_white(v[..., :3], v[..., 3:], premultiplied=True),
    ),
    "grey, alpha": (2, {"extra": (2,)}, lambda v: over_white(v[..., :1], v[..., 1:])),
    "cmyk": (4, {"photometric": 5}, ink),
    "ycbcr": (
        3,
        {"photometric": 6, "compression": 8, "more": [(530, 3, [1, 1])]},
        jpeg_colours,
    ),
}


@settings(max_examples=120, deadline=None)
@given(
    data=st.data(),
    name=st.sampled_from(sorted(COLOURS)),
    bits=st.sampled_from([8, 16]),
    order=st.sampled_from("<>"),
    orientation=st.sampled_from([None, *UPRIGHT]),
    layout=LAYOUTS,
    compression=st.sampled_from([1, 8]),
)
def test_colours_in_a_tiff(data, name, bits, order, orientation, layout, compression):
    count, options, seen = COLOURS[name]
    if name in ("grey, alpha", "ycbcr"):
        bits = 8
    values = np.stack([draw_levels(data, 255)] * count, -1)
    values = np.random.default_rng(values.size).permuted(values)
    if name == "rgb, premultiplied":
        values[..., :3] = values[..., :3] * values[..., 3:] // 255
    stored = values.astype(np.uint16) * 257 if bits == 16 else values.astype(np.uint8)
    file = write.tiff(
        stored,
        bits,
        order=order,
        orientation=orientation,
        **{"compression": compression, **layout, **options},
    )
    wanted = UPRIGHT[orientation or 1](seen(values.astype(np.float64)))
    found = decode_image(file)
    assert found.shape == (*wanted.shape[:2], 3)
    assert np.abs(found - wanted).max() <= 1.5
    if name in ("rgb", "rgb and more", "rgb, alpha") and bits == 8:
        exact = UPRIGHT[orientation or 1](values[..., :3])  # transparency is passed over
        np.testing.assert_array_equal(decode_mask(file, color=True), exact)
    else:
        with pytest.raises(DecodeError, match="(16 bits|not stored as RGB|alpha|is a colour mask)"):
            decode_mask(file, color=name != "grey, alpha")


def test_the_palette_of_a_tiff():
    rng = np.random.default_rng(0)
    for bits in (1, 2, 4, 8):
        indices = rng.integers(0, 2**bits, (9, 13)).astype(np.uint8)
        palette = rng.integers(0, 256, (3, 2**bits))
        file = write.tiff(
            indices, bits, photometric=3, more=[(320, 3, (palette * 257).ravel().tolist())]
        )
        np.testing.assert_array_equal(decode_mask(file), indices)
        np.testing.assert_array_equal(decode_image(file), palette.T[indices])
        np.testing.assert_array_equal(decode_mask(file, color=True), palette.T[indices])


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from([("i", 8), ("i", 16), ("i", 32), ("u", 32), ("f", 32)]),
    order=st.sampled_from("<>"),
    orientation=st.sampled_from([None, 6]),
)
def test_signed_wide_and_float_numbers_are_masks_where_they_are_whole_and_no_pictures(
    data, kind, order, orientation
):
    letter, bits = kind
    order = "<" if letter == "u" else order
    number = {"u": 1, "i": 2, "f": 3}[letter]
    levels = draw_levels(data, 127 if bits == 8 else 32767 if bits == 16 else 65535)

    def file(values):
        stored = values.astype(f"{letter}{bits // 8}")
        return write.tiff(stored, bits, number=number, order=order, orientation=orientation)

    np.testing.assert_array_equal(decode_mask(file(levels)), UPRIGHT[orientation or 1](levels))
    with pytest.raises(DecodeError, match=r"x\.tif: its samples are .* have no known range"):
        decode_image(file(levels), record="x.tif")
    wrong = {"i": -1, "u": 2**31 + 5, "f": 0.5}[letter]
    bad = levels.astype(np.float64)
    bad.flat[-1] = wrong
    with pytest.raises(DecodeError, match="no whole number from 0 to 65535; 1 of"):
        decode_mask(file(bad))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.25, 65536.0])
def test_floats_that_are_no_class(value):
    levels = np.array([[1, value]], np.float32)
    with pytest.raises(DecodeError, match="row 0, column 1 is no whole number"):
        decode_mask(write.tiff(levels, 32, number=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photometric": 8, "samples": 3}, r"PhotometricInterpretation 8 \(CIELab\)"),
        ({"photometric": 4}, r"PhotometricInterpretation 4 \(a transparency mask\)"),
        ({"photometric": 32803}, "a colour filter array"),
        ({"photometric": 77}, r"77 \(not known\)"),
        ({"photometric": 2, "samples": 4}, r"4 samples per pixel for 3 .* ExtraSamples \[\]"),
        ({"photometric": 2, "samples": 4, "extra": (999,)}, r"ExtraSamples \[999\] does not tell"),
        ({"samples": 2}, "2 samples per pixel for 1 of colour"),
        ({"number": 4}, "SampleFormat is void or complex"),
        ({"number": 6}, "SampleFormat is void or complex"),
        ({"number": 3, "bits": 16}, "grey of 16-bit float samples"),
        ({"bits": 6}, "grey of 6-bit unsigned samples"),
        ({"bits": 12, "order": ">"}, "12-bit samples in a big-endian TIFF"),
        ({"bits": 16, "photometric": 3}, "a palette of 16-bit unsigned samples"),
        ({"photometric": 6, "samples": 3}, "YCbCr, uncompressed"),
        ({"photometric": 5, "samples": 4, "more": [(332, 3, [2])]}, "inks are not cyan"),
        ({"photometric": 2, "samples": 3, "bits": 16, "planar": 2}, "in planes"),
        ({"big": True, "order": ">"}, "big-endian BigTIFF"),
        ({"photometric": 0, "samples": 2, "extra": (2,)}, "white-is-zero with further samples"),
    ],
)
def test_what_is_not_understood_in_a_tiff_is_refused_by_its_name(options, message):
    options = dict(options)
    bits, samples = options.pop("bits", 8), options.pop("samples", 1)
    stored = unsigned(np.arange(20 * samples).reshape(4, 5, samples) % 2**bits, bits)
    with pytest.raises(DecodeError, match=rf"^a\.tif: .*{message}"):
        decode_image(write.tiff(stored, bits, **options), record="a.tif")


@pytest.mark.parametrize("order", "<>")
def test_a_tiff_that_mixes_the_byte_orders_is_refused(order):
    file = write.tiff(np.zeros((4, 6), np.uint8), 8, order=order, orientation=6)
    mixed = file[:2] + file[3:1:-1] + file[4:]
    assert Image.open(io.BytesIO(mixed)).format == "TIFF"  # which Pillow takes
    with pytest.raises(DecodeError, match="mixes the byte orders"):
        decode_image(mixed)


def test_lossy_masks_are_refused():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 20, (16, 16), np.uint8))
    for format, options, message in (
        ("JPEG", {}, "a JPEG does not keep"),
        ("TIFF", {"compression": "jpeg"}, "JPEG in a TIFF does not keep"),
        ("WEBP", {"quality": 90}, "lossy WebP does not keep"),
    ):
        file = io.BytesIO()
        picture.save(file, format, **options)
        for color in (False, True):
            with pytest.raises(DecodeError, match=message):
                decode_mask(file.getvalue(), color=color)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_mask(file.getvalue(), color=True)[..., 0], picture)


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "group4"]
)
def test_tiffs_that_pillow_writes(compression):
    bits = np.random.default_rng(1).integers(0, 2, (21, 37)).astype(bool)
    file = io.BytesIO()
    Image.fromarray(bits).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(decode_image(file.getvalue(), channels=1)[..., 0], bits * 255)
    stored = Image.open(file).tag_v2[262]  # white is zero or black is
    np.testing.assert_array_equal(decode_mask(file.getvalue()), bits if stored else ~bits)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4"])
def test_tiffs_that_tifffile_writes(order, photometric, dtype):
    tifffile = pytest.importorskip("tifffile")
    levels = np.random.default_rng(2).integers(0, 200, (33, 47)).astype(dtype)
    if order == ">" and (dtype == "u4" or (dtype == "f4" and photometric == "minisblack")):
        order = "<"
    wrote = []
    for options in ({}, {"tile": (16, 16)}, {"rowsperstrip": 7}, {"bigtiff": order == "<"}):
        file = io.BytesIO()
        tifffile.imwrite(file, levels, photometric=photometric, byteorder=order, **options)
        wrote.append(file.getvalue())
        with tifffile.TiffFile(io.BytesIO(file.getvalue())) as opened:
            np.testing.assert_array_equal(opened.asarray(), levels)
    for file in wrote:
        np.testing.assert_array_equal(decode_mask(file), levels)


# ---- PNG ---------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    bits=st.sampled_from([1, 2, 4, 8, 16]),
    transparent=st.booleans(),
    orientation=st.sampled_from([None, *UPRIGHT]),
)
def test_grey_png_of_any_depth(data, bits, transparent, orientation):
    maximum = 2**bits - 1
    levels = unsigned(draw_levels(data, maximum), bits)
    clear = int(levels.flat[levels.size // 2])
    before = []
    if transparent:
        before.append((b"tRNS", clear.to_bytes(2, "big")))
    if orientation:
        before.append(
            (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c" % orientation + bytes(6))
        )
    file = write.png(levels, bits, before=before)
    np.testing.assert_array_equal(decode_mask(file, apply_exif=False), levels)
    stored = UPRIGHT[orientation or 1](levels)
    np.testing.assert_array_equal(decode_mask(file), stored)
    shown = brightness(stored, maximum)
    if transparent:
        shown = np.where(stored == clear, np.uint8(200), shown)
    found = decode_image(file, channels=1, background=200)
    np.testing.assert_array_equal(found[..., 0], shown)


def test_palette_png_of_any_depth():
    rng = np.random.default_rng(3)
    for bits in (1, 2, 4, 8):
        indices = rng.integers(0, 2**bits, (9, 13)).astype(np.uint8)
        colours = rng.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        file = write.png(indices, bits, colour=3, before=[(b"PLTE", colours.tobytes())])
        np.testing.assert_array_equal(decode_mask(file), indices)
        np.testing.assert_array_equal(decode_image(file), colours[indices])


def test_colours_of_16_bits_are_no_colour_mask():
    levels = np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * 2000
    file = write.png(levels, 16, colour=2)
    np.testing.assert_array_equal(decode_image(file), levels >> 8)
    with pytest.raises(DecodeError, match="its colours have 16 bits"):
        decode_mask(file, color=True)
    clear = write.png(levels, 16, colour=2, before=[(b"tRNS", bytes(6))])
    with pytest.raises(DecodeError, match=r"16-bit colours with one that is transparent"):
        decode_image(clear)


# ---- PBM, PGM, PPM -----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    maximum=st.one_of(st.integers(1, 255), st.integers(256, 65535)),
    plain=st.booleans(),
    comment=st.sampled_from([b"", b"# made by hand\n"]),
)
def test_portable_maps_of_any_maxval(data, maximum, plain, comment):
    levels = unsigned(draw_levels(data, maximum), 8 if maximum < 256 else 16)
    file = write.portable_map(levels, maximum, plain, comment)
    np.testing.assert_array_equal(decode_mask(file), levels)
    found = decode_image(file, channels=1)[..., 0]
    np.testing.assert_array_equal(found, brightness(levels, maximum))
    colours = np.stack([levels, levels.max() - levels, levels], -1)
    file = write.portable_map(colours, maximum, plain, comment)
    np.testing.assert_array_equal(decode_image(file), brightness(colours, maximum))
    if maximum == 255:
        np.testing.assert_array_equal(decode_mask(file, color=True), colours)
    else:
        with pytest.raises(DecodeError, match=f"go up to {maximum} and would be scaled"):
            decode_mask(file, color=True)


@pytest.mark.parametrize("plain", [False, True])
def test_portable_bitmaps(plain):
    bits = np.random.default_rng(4).integers(0, 2, (9, 13)).astype(np.uint8)  # 1 is black
    file = write.portable_map(bits, None, plain)
    np.testing.assert_array_equal(decode_mask(file), bits)
    np.testing.assert_array_equal(decode_image(file, channels=1)[..., 0], (1 - bits) * 255)
    assert decode_mask(b"P1 3 1 101").tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5\n2 1\n20\n\x01\x15", "level 21, above its maxval 20"),
        (b"P2\n2 1\n20\n1 999999999999999999999", "above its maxval 20"),
        (b"P2\n2 1\n20\n1 -1", "not all whole numbers"),
        (b"P2\n2 1\n20\n1 1.5", "not all whole numbers"),
        (b"P2\n2 1\n20\n1", "cut off: 1 of 2"),
        (b"P5\n2 1\n300\n\0\1\0", "cut off: 3 of 4"),
        (b"P4\n9 2\n\0\0\0", "cut off: 3 of 4"),
        (b"P1\n3 1\n1 2 1", "level 2, above its maxval 1"),
        (b"P5\n2 1\n0\n\0\0", "claims 2x1 pixels up to 0"),
        (b"P5\n2 1\n65536\n\0\0", "up to 65536"),
        (b"P5\n0 1\n255\n", "claims 0x1"),
        (b"P5\n2 one\n", "not one of P1 to P6"),
        (b"P6\n99999 99999\n255\n", "claims 99999x99999 pixels, above the limit"),
    ],
)
def test_portable_maps_that_are_refused(data, message):
    for decode in (decode_mask, decode_image):
        with pytest.raises(DecodeError, match=rf"^a\.pgm: .*{message}"):
            decode(data, record="a.pgm")


def test_class_1_of_20_stays_class_1():
    for file in (
        b"P5\n4 1\n20\n" + bytes([0, 1, 1, 0]),
        write.png(np.array([[0, 1, 1, 0]], np.uint8), 4),
        write.tiff(np.array([[0, 1, 1, 0]], np.uint8), 4, photometric=0),
    ):
        labels = MaskValues(num_classes=20).labels(decode_mask(file))
        assert labels.tolist() == [[0, 1, 1, 0]]


# ---- BMP and GIF -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bits=st.sampled_from([1, 4, 8]), ramp=st.booleans())
def test_indices_of_a_bmp_whatever_its_palette(data, bits, ramp):
    colours = data.draw(st.integers(1, 2**bits))
    indices = draw_levels(data, colours - 1, np.uint8)
    if ramp:  # black and white, or greys that are their own index
        palette = (
            [(0, 0, 0), (255, 255, 255)] if colours == 2 else [(i, i, i) for i in range(colours)]
        )
    else:
        palette = [(255 - i, i, 7) for i in range(colours)]
    file = write.bmp(indices, bits, palette)
    np.testing.assert_array_equal(decode_mask(file), indices)
    wanted = np.array(palette, np.uint8)[indices]
    np.testing.assert_array_equal(decode_image(file), wanted)
    if not ramp:  # a ramp of 8 bits counts as grey
        np.testing.assert_array_equal(decode_mask(file, color=True), wanted)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), four_bits=st.booleans())
def test_run_lengths_of_a_bmp(data, four_bits):
    """Random codes, expanded twice: by the code and, a pixel at a time, here."""
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    wanted, body = np.zeros((height, width), np.uint8), b""
    for row in range(height):
        column = 0
        while column < width and data.draw(st.integers(0, 4)):
            count = data.draw(st.integers(1, min(width - column, 5)))
            values = data.draw(st.lists(st.integers(0, 15), min_size=count, max_size=count))
            if count >= 3 and data.draw(st.booleans()):
                halves = [*values, 0][: count + count % 2]
                packed = bytes(a << 4 | b for a, b in zip(halves[::2], halves[1::2]))
                packed = packed if four_bits else bytes(values)
                body += bytes([0, count]) + packed + bytes(len(packed) % 2)
            else:
                values = [values[i % 2] for i in range(count)] if four_bits else values[:1] * count
                second = values[1] if count > 1 else 0
                body += bytes([count, values[0] << 4 | second if four_bits else values[0]])
            wanted[row, column : column + count] = values
            column += count
        body += b"\0\0"
    body += b"\0\1"
    palette = [(i, i, i) for i in range(16)]
    plain = write.bmp(wanted[:1], 8, palette)
    head = bytearray(plain[: plain.index(b"BM") + 54 + 64])
    head[18:22], head[22:26] = width.to_bytes(4, "little"), height.to_bytes(4, "little")
    head[28:30] = (4 if four_bits else 8).to_bytes(2, "little")
    head[30:34] = (2 if four_bits else 1).to_bytes(4, "little")
    file = bytes(head) + body
    np.testing.assert_array_equal(decode_mask(file), wanted[::-1])
    with pytest.raises(DecodeError, match="run lengths are cut off"):
        decode_mask(file[:-2])


def test_a_gif_whose_first_frame_is_a_part_is_a_picture_but_no_mask():
    file = io.BytesIO()
    Image.fromarray(np.full((6, 6), 3, np.uint8), "P").save(file, "GIF")
    whole = file.getvalue()
    larger = bytearray(whole)
    larger[6:10] = b"\x08\0\x09\0"
    assert decode_mask(whole).shape == (6, 6)
    assert decode_image(bytes(larger)).shape == (9, 8, 3)
    with pytest.raises(DecodeError, match="covers only a part"):
        decode_mask(bytes(larger))
