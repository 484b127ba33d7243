"""Parts of a file that decide no pixel: however large, damaged or many, they change nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from jaxcv.data import DecodeError, ImageReader, decode_image, decode_mask, fit_image
from jaxcv.data.orientation import Header, read_header
from tests.data.written_images import chunk, png, tiff

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (12, 20), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
LONG = RNG.bytes(3 << 20)  # no compression makes it short


def encode(image, kind, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def damaged(part):
    return part[:-1] + bytes([part[-1] ^ 1])


ANCILLARY = {
    "long tEXt": chunk(b"tEXt", b"Comment\0" + LONG),
    "long zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20))),
    "long iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(64 << 20))),
    "long iTXt as it is": chunk(b"iTXt", b"Comment\0\0\0\0\0" + LONG),
    "zTXt that is none": chunk(b"zTXt", b"Comment\0\0no zlib"),
    "tEXt without a keyword": chunk(b"tEXt", b"x" * 99),
    "iTXt that stops": chunk(b"iTXt", b"a\0\1"),
    "long iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(64 << 20))),
    "iCCP that is none": chunk(b"iCCP", b"profile\0\0no zlib"),
    "iCCP of another method": chunk(b"iCCP", b"profile\0\7" + zlib.compress(b"x")),
    "empty iCCP": chunk(b"iCCP", b""),
    "damaged tEXt": damaged(chunk(b"tEXt", b"Comment\0hello")),
    "damaged iCCP": damaged(chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x"))),
    "damaged eXIf": damaged(chunk(b"eXIf", b"MM\0*" + bytes(40))),
    "damaged pHYs": damaged(chunk(b"pHYs", bytes(9))),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "short cHRM": chunk(b"cHRM", b"\0\1"),
    "short sRGB": chunk(b"sRGB", b""),
    "short pHYs": chunk(b"pHYs", b"\0"),
    "short acTL": chunk(b"acTL", b"\0"),
    "frames": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(26)),
    "unknown": chunk(b"vpAg", LONG),
    "XMP that inflates": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(64 << 20))
    ),
    "profile that inflates": chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(64 << 20))
    ),
}


@pytest.mark.parametrize("name", ANCILLARY)
def test_ancillary_chunks_of_a_png(name):
    """Before the pixels, after them, and a hundred times."""
    part = ANCILLARY[name]
    for options in (
        {"before": [part]},
        {"after": [part]},
        {"before": [part] * (100 if len(part) < 999 else 2)},
    ):
        file = png(LEVELS, 8, **options)
        np.testing.assert_array_equal(decode_image(file, channels=1)[..., 0], LEVELS)
        np.testing.assert_array_equal(decode_mask(file), LEVELS)
        assert read_header(file) == Header((12, 20))


def test_nothing_global_is_changed_for_it():
    before = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS)
    decode_image(png(LEVELS, 8, before=[ANCILLARY["long zTXt"]]))
    after = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS)
    assert before == after


EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
HEX = b"\nexif\n%8d\n" % (len(EXIF) + 6) + (b"Exif\0\0" + EXIF).hex().encode()
ORIENTING = {
    "eXIf": chunk(b"eXIf", EXIF),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "XMP, compressed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    "as ImageMagick writes it": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(HEX)),
}


@pytest.mark.parametrize("name", ORIENTING)
def test_what_tells_the_orientation_of_a_png_is_kept(name):
    noise = [ANCILLARY["long zTXt"], ORIENTING[name], ANCILLARY["damaged iCCP"]]
    for options in ({"before": noise}, {"after": noise}):
        file = png(LEVELS, 8, **options)
        np.testing.assert_array_equal(decode_mask(file), LEVELS[::-1].T)
        np.testing.assert_array_equal(decode_mask(file, apply_exif=False), LEVELS)
        header = read_header(file)
        assert (header.upright_size, header.orientation) == ((20, 12), 6)
        for fit in ("stretch", "crop", "pad"):
            reader = ImageReader(size=(9, 7), fit=fit, channels=1)
            np.testing.assert_array_equal(
                reader.decode(file), fit_image(LEVELS[::-1].T[..., None], (9, 7), fit)
            )


def test_chunks_that_decide_are_still_checked():
    palette = chunk(b"PLTE", bytes(range(30)))
    transparent = chunk(b"tRNS", b"\0\7")
    for part in (
        damaged(palette),
        damaged(transparent),
        chunk(b"CgBI", bytes(4)),
        chunk(b"IHDR", bytes(13)),
    ):
        with pytest.raises(DecodeError, match=r"^a\.png: .*(CRC|critical|IHDR)"):
            decode_image(png(LEVELS % 10, 8, colour=0, before=[part]), record="a.png")
    for header in (b"", bytes(12), struct.pack(">IIBBBBB", 20, 12, 8, 1, 0, 0, 0)):
        with pytest.raises(DecodeError):
            decode_image(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))


# ---- JPEG --------------------------------------------------------------------------------------

JPEG = encode(COLOURS, "JPEG", quality=95)
PIXELS = decode_image(JPEG)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


SEGMENTS = {
    "long comments": segment(0xFE, LONG[:65000]) * 40,
    "long profile": b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 255]) + LONG[:60000]) for i in range(1, 256)
    ),
    "profile that lacks parts": segment(0xE2, b"ICC_PROFILE\0\1\5abc"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "no pictures": segment(0xE2, b"MPF\0"),
    "damaged pictures": segment(0xE2, b"MPF\0II*\0" + b"\xff" * 40),
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 60),
    "long EXIF": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0" + LONG[:60000]) * 20,
    "long XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b" " * 60000) * 20,
    "extended XMP": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + LONG[:60000]) * 20,
    "scans that are none": segment(0xE5, b"\xff\xda" * 30000),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_a_jpeg(name):
    file = JPEG[:2] + SEGMENTS[name] + JPEG[2:]
    assert read_header(file).upright_size == (12, 20)
    np.testing.assert_array_equal(decode_image(file), PIXELS)


def test_the_orientation_of_a_jpeg_among_them():
    turned = JPEG[:2] + SEGMENTS["short profile"] + segment(0xE1, b"Exif\0\0" + EXIF)
    file = turned + SEGMENTS["long EXIF"] + JPEG[2:]
    np.testing.assert_array_equal(decode_image(file), PIXELS[::-1].swapaxes(0, 1))


def test_what_stands_behind_a_jpeg_is_not_looked_at():
    """As phones append a film: its bytes are no scans."""
    np.testing.assert_array_equal(decode_image(JPEG + b"\xff\xda\0\x08" * 5000), PIXELS)


# ---- GIF, WebP, TIFF ---------------------------------------------------------------------------


def test_comments_and_frames_of_a_gif():
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8), "P") for level in (1, 2)]
    whole = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 0x80 else 0)
    comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * 4000 + b"\0"
    for parts in (comment, b"\x21\xfe\1c\0" * 9000, b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0" * 9):
        file = whole[:start] + parts + whole[start:]
        np.testing.assert_array_equal(decode_mask(file), decode_mask(whole))
        np.testing.assert_array_equal(decode_image(file), decode_image(whole))


def test_notes_in_a_webp():
    options = {"lossless": True, "icc_profile": LONG, "xmp": LONG, "exif": b"Exif\0\0" + EXIF}
    file = encode(COLOURS, "WEBP", **options)
    np.testing.assert_array_equal(decode_image(file), COLOURS[::-1].swapaxes(0, 1))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from("<>"), st.integers(0, 99))
def test_other_tags_of_a_tiff(order, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.choice(np.arange(30000, 60000), 200, replace=False).tolist()
    tags = [(34665, 4, [4]), (330, 4, [4]), (700, 1, list(XMP)), (34675, 7, list(LONG[:9999]))]
    tags += [(tag, 2, list(LONG[: tag % 300 + 1])) for tag in numbers if tag not in (34665, 34675)]
    file = tiff(LEVELS, 8, order=order, more=tags)
    np.testing.assert_array_equal(decode_mask(file), LEVELS)
