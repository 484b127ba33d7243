"""Every line of the decoding policy, every way to cut a file, and a fuzzer that looks for leaks."""

import contextlib
import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcv.data import DecodeError, decode_image
from jaxcv.data.formats import accepted_formats

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def encode(image, format="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, stream, interlace=0):
    """A PNG from its raw (filtered, uncompressed) pixel stream."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(stream)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# ---- The table --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_exact_pixels(format):
    np.testing.assert_array_equal(decode_image(encode(COLOUR, format)), COLOUR)
    np.testing.assert_array_equal(decode_image(encode(GREY, format), channels=1)[..., 0], GREY)


def test_lossy_and_palette_formats_are_close():
    smooth = np.linspace(0, 255, 32 * 32).reshape(32, 32).astype(np.uint8)
    smooth = np.stack([smooth, smooth.T, 255 - smooth], -1)
    for format, options in [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("GIF", {})]:
        found = decode_image(encode(smooth, format, **options)).astype(int)
        assert np.abs(found - smooth).mean() < 8, format
    lossless = decode_image(encode(COLOUR, "WEBP", lossless=True))
    np.testing.assert_array_equal(lossless, COLOUR)


def test_grey_is_repeated_and_colour_becomes_luma():
    np.testing.assert_array_equal(
        decode_image(encode(GREY), channels=3), np.repeat(GREY[..., None], 3, -1)
    )
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    found = decode_image(encode(COLOUR), channels=1)[..., 0]
    assert np.abs(found - luma).max() <= 0.51


# EXIF 2.32, tag 274: which side of the upright picture the stored row 0 and column 0 are.
ORIENTATIONS = {
    1: lambda upright: upright,  # row 0 = top, column 0 = left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: upright[::-1].transpose(1, 0, 2),  # left, bottom
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(orientation):
    stored = ORIENTATIONS[orientation](COLOUR)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(np.ascontiguousarray(stored), format, exif=exif, **options)
        np.testing.assert_array_equal(decode_image(data), COLOUR)
        np.testing.assert_array_equal(decode_image(data, apply_exif=False), stored)


def test_exif_of_a_jpeg_and_a_tiff():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encode(COLOUR, "JPEG", exif=exif)).shape == (20, 12, 3)
    assert decode_image(encode(COLOUR, "JPEG", exif=exif), apply_exif=False).shape == (12, 20, 3)
    tiff = encode(COLOUR, "TIFF", tiffinfo={274: 6})
    np.testing.assert_array_equal(decode_image(tiff), COLOUR[::-1].transpose(1, 0, 2))


@pytest.mark.filterwarnings("ignore")
def test_broken_exif_counts_as_none():
    data = encode(COLOUR, "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 30)
    assert decode_image(data).shape == (12, 20, 3)


def test_one_bit_and_palette():
    bits = GREY > 127
    np.testing.assert_array_equal(
        decode_image(encode(Image.fromarray(bits)), channels=1)[..., 0], np.where(bits, 255, 0)
    )
    few = COLOUR // 128 * 255  # 8 colours
    palette = Image.fromarray(few).quantize(8)
    assert palette.mode == "P"
    np.testing.assert_array_equal(decode_image(encode(palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("background", [0, 255])
def test_alpha_is_laid_over_the_background(background):
    alpha = np.zeros((12, 20), np.uint8)
    alpha[:6] = 255
    alpha[6:9] = 128
    data = encode(np.dstack([COLOUR, alpha]))
    fraction = alpha[..., None] / 255
    wanted = COLOUR * fraction + background * (1 - fraction)
    found = decode_image(data, background=background)
    assert np.abs(found - wanted).max() <= 1
    np.testing.assert_array_equal(found[:6], COLOUR[:6])
    np.testing.assert_array_equal(found[9:], background)
    grey_alpha = encode(Image.fromarray(np.dstack([GREY, alpha]), "LA"))
    assert (decode_image(grey_alpha, channels=1, background=background)[9:] == background).all()


def test_a_colour_declared_transparent_shows_the_background():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = (10, 20, 30)
    found = decode_image(encode(image, transparency=(10, 20, 30)))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [0, 0, 0]
    grey = decode_image(encode(np.array([[7, 8]], np.uint8), transparency=7), channels=1)
    assert grey[0, :, 0].tolist() == [255, 8]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 9, 9, 50, 60, 70])
    found = decode_image(encode(palette, transparency=0))
    assert found[0].tolist() == [[255, 255, 255], [50, 60, 70]]


def test_sixteen_bit():
    levels = np.array([[0, 128, 129, 256, 257, 32768, 65406, 65407, 65535]], np.uint16)
    wanted = [0, 0, 1, 1, 1, 128, 254, 255, 255]  # round(v / 257)
    np.testing.assert_array_equal(np.round(levels[0] / 257), wanted)
    image = Image.fromarray(levels)
    pgm = b"P5\n9 1\n65535\n" + levels.astype(">u2").tobytes()
    for data in (encode(image), encode(image, "TIFF"), pgm):
        assert decode_image(data, channels=1)[0, :, 0].tolist() == wanted
        assert decode_image(data)[0, :, 2].tolist() == wanted
    colour = RNG.integers(0, 65536, (3, 4, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colour)
    np.testing.assert_array_equal(decode_image(png(4, 3, 16, 2, rows)), colour >> 8)


def test_cmyk():
    ink = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    image = Image.fromarray(ink, "CMYK")
    paper = 255.0 - ink
    wanted = paper[..., :3] * paper[..., 3:] / 255
    assert np.abs(decode_image(encode(image, "TIFF")) - wanted).max() <= 1
    assert decode_image(encode(image, "JPEG")).shape == (6, 8, 3)


def test_first_frame_of_several():
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (50, 200)]
    for format in ("GIF", "TIFF", "PNG", "WEBP", "MPO"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        assert abs(int(decode_image(data, channels=1)[0, 0, 0]) - 50) <= 2, format


def test_interlaced_png():
    # Adam7 of a 3x2 grey image: pass 1 holds (0,0), pass 6 column 1 of row 0, pass 4 column 2,
    # pass 7 row 1.
    stream = bytes([0, 10, 0, 30, 0, 20, 0, 40, 50, 60])
    found = decode_image(png(3, 2, 8, 0, stream, interlace=1), channels=1)[..., 0]
    assert found.tolist() == [[10, 20, 30], [40, 50, 60]]
    with pytest.raises(DecodeError, match="8 of 10"):
        decode_image(png(3, 2, 8, 0, stream[:8], interlace=1))


def test_unknown_ranges_are_refused():
    for mode in ("I", "F"):
        with pytest.raises(DecodeError, match="no known range"):
            decode_image(encode(Image.new(mode, (3, 3)), "TIFF"))


# ---- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<html><body>404</body></html>",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"BM" * 40,
    ],
)
def test_no_image(data):
    with pytest.raises(DecodeError, match=r"^cat/7\.png: "):
        decode_image(data, record="cat/7.png")


@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA", "EPS", "ICNS", "PDF"])
def test_formats_outside_the_list_are_refused(format):
    assert format not in accepted_formats()
    with pytest.raises(DecodeError, match="known format"):
        decode_image(encode(Image.new("RGB", (16, 16)), format))


VARIANTS = {
    "jpeg": encode(COLOUR, "JPEG"),
    "jpeg progressive": encode(COLOUR, "JPEG", progressive=True),
    "png": encode(COLOUR),
    "png palette": encode(Image.fromarray(COLOUR).quantize(9)),
    "gif": encode(Image.fromarray(COLOUR).quantize(64), "GIF"),
    "webp": encode(COLOUR, "WEBP"),
    "webp lossless": encode(COLOUR, "WEBP", lossless=True),
    "bmp": encode(COLOUR, "BMP"),
    "tiff": encode(COLOUR, "TIFF"),
    "tiff lzw": encode(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff deflate": encode(COLOUR, "TIFF", compression="tiff_deflate"),
    "ppm": encode(COLOUR, "PPM"),
    "pgm": encode(GREY, "PPM"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VARIANTS)
def test_every_truncation_is_refused_or_harmless(name):
    """No cut file may give other pixels than the whole one; all but the last bytes must raise."""
    data = VARIANTS[name]
    whole = decode_image(data)
    for cut in {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 16, len(data))}:
        try:
            found = decode_image(data[:cut])
        except DecodeError:
            continue
        assert cut >= len(data) - 2, f"cut at {cut} of {len(data)} decodes"
        np.testing.assert_array_equal(found, whole)


def test_png_whose_pixel_stream_stops_is_refused_though_its_chunks_are_whole():
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    whole = png(20, 12, 8, 0, rows)
    np.testing.assert_array_equal(decode_image(whole, channels=1)[..., 0], GREY)
    short = png(20, 12, 8, 0, rows[: 6 * 21])
    # What makes the check necessary: Pillow takes it and leaves the rest black.
    pillow = np.asarray(Image.open(io.BytesIO(short)))
    assert pillow[:6].any()
    assert not pillow[6:].any()
    with pytest.raises(DecodeError, match=r"x\.png: the PNG's pixel stream is cut off: 126 of 252"):
        decode_image(short, record="x.png")


def test_tiff_whose_strips_stop_is_refused():
    height = struct.pack("<HHIHH", 257, 4, 1, 12, 0)  # the tag ImageLength: one long, 12 rows
    data = encode(COLOUR, "TIFF", tiffinfo={278: 4})
    if height not in data:  # stored as a short
        height = struct.pack("<HHIHH", 257, 3, 1, 12, 0)
    taller = data.replace(height, height[:8] + struct.pack("<HH", 24, 0))
    assert Image.open(io.BytesIO(taller)).size == (20, 24)
    with pytest.raises(DecodeError, match="has 3 strips, but its size needs 6"):
        decode_image(taller)


def test_png_with_a_flipped_bit_is_refused():
    data = bytearray(VARIANTS["png"])
    place = data.index(b"IDAT") + 40
    for bit in range(8):
        flipped = data.copy()
        flipped[place] ^= 1 << bit
        with pytest.raises(DecodeError):
            decode_image(bytes(flipped))


@pytest.mark.parametrize(
    ("depth", "colour", "samples"), [(1, 0, 1), (2, 3, 1), (4, 0, 1), (16, 6, 4)]
)
def test_length_of_a_png_stream(depth, colour, samples):
    width, height = 13, 5
    row = -(-width * depth * samples // 8)
    data = png(width, height, depth, colour, bytes(height * (1 + row)))
    if colour == 3:
        data = data.replace(chunk(b"IEND", b""), b"")
        head = data.index(b"IDAT") - 4
        data = data[:head] + chunk(b"PLTE", bytes(12)) + data[head:] + chunk(b"IEND", b"")
    assert decode_image(data).shape == (height, width, 3)
    with pytest.raises(DecodeError):
        decode_image(png(width, height, depth, colour, bytes(height * (1 + row) - 1)))


def test_size_is_checked_before_anything_is_allocated():
    # 30,000 x 30,000 RGB pixels would be 2.7 GB; the file claims them in under 100 bytes.
    bomb = png(30_000, 30_000, 8, 2, b"")
    with pytest.raises(DecodeError):
        decode_image(bomb)
    middling = png(8_000, 8_000, 8, 2, b"")
    with pytest.raises(DecodeError, match="8000x8000 pixels, above the limit 50000000"):
        decode_image(middling)
    with pytest.raises(DecodeError, match="above the limit 239"):
        decode_image(encode(COLOUR), max_pixels=239)
    assert decode_image(encode(COLOUR), max_pixels=240).shape == (12, 20, 3)


def test_channels_must_be_one_or_three():
    with pytest.raises(ValueError, match="1 or 3"):
        decode_image(encode(COLOUR), channels=4)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DecodeError("a.png", "is empty")))
    assert (str(error), error.record, error.reason) == ("a.png: is empty", "a.png", "is empty")


# ---- Fuzzing -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.sampled_from(sorted(VARIANTS)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(-8, 8),
    st.sampled_from([1, 3]),
)
def test_only_decode_errors_escape(name, changes, shift, channels):
    data = bytearray(VARIANTS[name])
    for place, value in changes:
        data[place % len(data)] = value
    if shift > 0:  # some bytes doubled, or taken out, at the first change
        place = changes[0][0] % len(data)
        data[place:place] = data[place : place + shift]
    elif shift < 0:
        place = changes[0][0] % len(data)
        del data[place : place - shift]
    try:
        image = decode_image(bytes(data), channels=channels, record="fuzz", max_pixels=100_000)
    except DecodeError as error:
        refusal = str(error)
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == channels
        refusal = "fuzz: none"
    assert refusal.startswith("fuzz: ")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, database=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"P6\n", b"II*\0"])
)
def test_only_decode_errors_escape_from_noise(noise, head):
    with contextlib.suppress(DecodeError):
        decode_image(head + noise, max_pixels=100_000)
