"""Decoding straight to a shape: the pixels of decoding whole, and near them where it is reduced."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcv.data import CSV, TFDS, DecodeError, Folder, decode_image, fit_image
from jaxcv.data.fit import Placement, fitting
from jaxcv.data.view import DECODE_MARGIN, decode_view, reduction

RNG = np.random.default_rng(0)


def encode(image, format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


def photo(height, width, exponent=1.2, seed=0):
    """Noise with the spectrum of a photo: amplitude 1 / frequency^exponent, correlated colours."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    frequency[0, 0] = 1
    shape = frequency.shape
    planes = []
    for fraction in (1, 0.35, 0.25):
        phases = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        plane = np.fft.irfft2(phases / frequency**exponent, (height, width))
        planes.append(fraction * plane / plane.std())
    luma, first, second = planes
    colours = np.stack([luma + first, luma - first / 2 - second / 3, luma + second], -1)
    return np.clip(118 + 45 * colours, 0, 255).astype(np.uint8)


def decibels(first, second):
    error = np.mean((first.astype(float) - second) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


SMALL = photo(60, 80)
ALPHA = np.dstack([SMALL, RNG.integers(0, 256, (60, 80), dtype=np.uint8)])
FILES = {
    "jpeg": encode(SMALL),
    "grey jpeg": encode(SMALL[..., 0]),
    "444": encode(SMALL, subsampling=0),
    "progressive": encode(SMALL, progressive=True),
    "png": encode(SMALL, "PNG"),
    "alpha": encode(ALPHA, "PNG"),
    "webp": encode(SMALL, "WEBP"),
    "16 bit": encode(SMALL[..., 0].astype(np.uint16) * 257 + 3, "PNG"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("name", FILES)
def test_it_is_decoding_and_fitting(name, fit, channels):
    for size in [(24, 30), (31, 21), (100, 64), (60, 80)]:
        wanted = fit_image(decode_image(FILES[name], channels=channels), size, fit)
        view = fitting(size, fit)
        # All of these shrink by less than 2 * DECODE_MARGIN, so that none is reduced.
        found = decode_view(FILES[name], view, size, channels=channels)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted)
        whole = decode_view(FILES[name], view, size, channels=channels, decode_margin=None)
        np.testing.assert_array_equal(whole, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("margin", [None, 1.0])
def test_views_are_of_the_upright_image(orientation, margin):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(320, 200), exif=exif, quality=95)
    size = (40, 48)
    for apply_exif in (True, False):
        wanted = fit_image(decode_image(data, apply_exif=apply_exif), size, "crop")
        view = fitting(size, "crop")
        found = decode_view(data, view, size, apply_exif=apply_exif, decode_margin=margin)
        assert decibels(found, wanted) > (35 if margin else 99)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    margin=st.sampled_from([1.0, 1.5, 2.0]),
)
@settings(max_examples=150, deadline=None)
def test_reduced_decoding_lies_where_the_whole_does(height, width, rows, columns, fit, margin):
    # A plane that rises evenly: a shift by half a pixel of the original would be seen.
    down, across = np.mgrid[:height, :width]
    plane = (40 + down + across).astype(np.uint8)
    data = encode(plane, quality=100)
    view = fitting((rows, columns), fit)
    whole = decode_view(data, view, (rows, columns), channels=1, decode_margin=None)
    found = decode_view(data, view, (rows, columns), channels=1, decode_margin=margin)
    factor = max(view((height, width)).box[2] / columns, view((height, width)).box[3] / rows, 1)
    # Next to an edge, where libjpeg fills up a block with the last pixel, the mean of a pixel that
    # lies half outside may be off by a part of itself.
    assert np.abs(found.astype(int) - whole).max() <= 2 + factor / 2


def test_the_rule_of_reduction():
    def of(height, width, target, margin):
        return reduction(Placement((0, 0, width, height), target), margin)

    assert [of(s, s, (100, 100), 1) for s in (99, 199, 200, 399, 400, 799, 800, 9999)] == [
        1, 1, 2, 2, 4, 4, 8, 8,
    ]  # fmt: skip
    assert of(1000, 390, (100, 100), 2) == 1  # the smaller factor counts
    assert of(400, 500, (100, 100), DECODE_MARGIN) == 2
    # Only the part that is shown counts, and only what it is scaled to.
    assert reduction(Placement((300, 300, 400, 400), (100, 100)), 1) == 1
    assert reduction(Placement((0, 0, 800, 400), (50, 100), (25, 0)), 2) == 4


@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_default_margin_costs_little(subsampling):
    # What the module's table says, for its harder row: 43.5 dB at the least.
    data = encode(photo(960, 1280, exponent=1.0), quality=90, subsampling=subsampling)
    for size in ((240, 320), (120, 160), (60, 80)):  # by d * DECODE_MARGIN: nothing to spare
        whole = decode_view(data, fitting(size, "stretch"), size, decode_margin=None)
        found = decode_view(data, fitting(size, "stretch"), size)
        assert 42 < decibels(found, whole) < 60
    # A size that is not reduced is the same.
    size = (241, 321)
    whole = decode_view(data, fitting(size, "stretch"), size, decode_margin=None)
    np.testing.assert_array_equal(decode_view(data, fitting(size, "stretch"), size), whole)


def test_other_formats_are_never_reduced():
    data = encode(photo(320, 320), "PNG")
    view = fitting((8, 8), "crop")
    np.testing.assert_array_equal(
        decode_view(data, view, (8, 8)), decode_view(data, view, (8, 8), decode_margin=None)
    )


def test_cmyk_is_reduced_too():
    file = io.BytesIO()
    Image.fromarray(photo(256, 256)).convert("CMYK").save(file, "JPEG", quality=95)
    view = fitting((16, 16), "crop")
    whole = decode_view(file.getvalue(), view, (16, 16), decode_margin=None)
    assert 35 < decibels(decode_view(file.getvalue(), view, (16, 16)), whole) < 99


def test_errors():
    view = fitting((8, 8), "crop")
    with pytest.raises(ValueError, match="decode_margin must be at least 1, or None, not 0.5"):
        decode_view(FILES["jpeg"], view, (8, 8), decode_margin=0.5)
    with pytest.raises(DecodeError, match="it: cannot be decoded"):
        decode_view(encode(photo(320, 320))[:2000], view, (8, 8), record="it")
    with pytest.raises(DecodeError, match=r"its header claims 80x60 pixels, above the limit 100"):
        decode_view(FILES["jpeg"], view, (8, 8), max_pixels=100)


def test_the_data_sets_decode_by_it(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(2):
        (tmp_path / "a" / f"{i}.jpg").write_bytes(encode(photo(400, 400, seed=i)))
    (tmp_path / "table.csv").write_text("image,label\na/0.jpg,x\na/1.jpg,y\n")
    data = (tmp_path / "a" / "0.jpg").read_bytes()
    view = fitting((50, 50), "crop")
    for margin in (None, 1.0, 2.0):
        wanted = decode_view(data, view, (50, 50), decode_margin=margin)
        folder = Folder(root=str(tmp_path), size=50, test_fraction=0.0, decode_margin=margin)
        np.testing.assert_array_equal(folder.open("train")[0]["image"], wanted)
        table = CSV(
            path=str(tmp_path / "table.csv"), size=50, test_fraction=0, decode_margin=margin
        )
        np.testing.assert_array_equal(table.open("train")[0]["image"], wanted)


def test_defaults_are_these():
    assert DECODE_MARGIN == 2.0
    for data in (Folder(root="."), CSV(path="t.csv"), TFDS(name="mnist")):
        assert data.decode_margin == DECODE_MARGIN
        assert data.random_resized_crop is None
