"""The optional library: the same bytes as Pillow, or Pillow itself."""

import io
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcv.data import DecodeError, RandomRectangle, native, native_build
from jaxcv.data.fit import Placement, fitting
from jaxcv.data.view import decode_view

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, built for these tests; skipped where there is no compiler or no libjpeg."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("JAXCV_NATIVE", raising=False)
        try:
            path = native_build.build()
        except native_build.BuildError as error:
            pytest.skip(str(error).splitlines()[0])
        assert path == native.library_path()
        assert native.load() is not None
        yield native.load()
    native.load.cache_clear()


def jpeg(height, width, mode="RGB", **options):
    small = RNG.integers(0, 256, (height // 7 + 2, width // 7 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def both(monkeypatch, data, view, target, **options):
    """What the library gives, or None where it leaves the file to Pillow; and what Pillow gives."""
    shown = []

    def show_jpeg(*args):
        shown.append(native.show_jpeg(*args))
        return shown[-1]

    monkeypatch.setattr("jaxcv.data.view.show_jpeg", show_jpeg)
    found = decode_view(data, view, target, **options)
    monkeypatch.setattr("jaxcv.data.view.show_jpeg", lambda *args: False)
    wanted = decode_view(data, view, target, **options)
    return (found if shown == [True] else None), wanted


def assert_same(monkeypatch, data, view, target, **options):
    found, wanted = both(monkeypatch, data, view, target, **options)
    assert found is not None
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("progressive", "subsampling"), [(False, 0), (False, 1), (False, 2), (True, 2)]
)
@pytest.mark.parametrize(
    "size", [(375, 500), (61, 83), (16, 16), (17, 9), (1, 1), (640, 33), (500, 333)]
)
def test_the_bytes_are_pillows(library, monkeypatch, size, subsampling, progressive):
    data = jpeg(*size, subsampling=subsampling, progressive=progressive, quality=87)
    for fit in ("stretch", "crop", "pad"):
        for target in ((32, 24), (7, 70)):
            for margin in (None, 1.0):
                view = fitting(target, fit)
                assert_same(monkeypatch, data, view, target, decode_margin=margin)
    cut = RandomRectangle(size=(40, 30), scale=(0.01, 1.0))
    for view in cut.views(seed=1, step=0, count=10):
        assert_same(monkeypatch, data, view, cut.size)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_rectangle_of_any_image(library, data):
    height, width = data.draw(st.integers(1, 130)), data.draw(st.integers(1, 130))
    left = data.draw(st.floats(0, width - 0.5))
    top = data.draw(st.floats(0, height - 0.5))
    right = data.draw(st.floats(left + 0.4, width))
    bottom = data.draw(st.floats(top + 0.4, height))
    target = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    mode = data.draw(st.sampled_from(["RGB", "L"]))
    file = jpeg(height, width, mode, quality=data.draw(st.integers(1, 100)))
    place = Placement((left, top, right, bottom), target)
    options = {"channels": len(mode), "decode_margin": data.draw(st.sampled_from([None, 1.0]))}
    with pytest.MonkeyPatch.context() as patch:
        assert_same(patch, file, lambda size: place, target, **options)


def test_what_is_unusual_is_left_to_pillow(library, monkeypatch):
    view, target = fitting((20, 20), "crop"), (20, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    cases = {
        "turned": (jpeg(64, 48, exif=exif), {}),
        "CMYK": (jpeg(64, 48, "CMYK"), {}),
        "grey wanted": (jpeg(64, 48), {"channels": 1}),
        "colour wanted": (jpeg(64, 48, "L"), {}),
        "bytes behind its end": (jpeg(64, 48) + b"trailer", {}),
    }
    for name, (data, options) in cases.items():
        found, wanted = both(monkeypatch, data, view, target, **options)
        assert found is None, name
        assert wanted.shape == (20, 20, options.get("channels", 3))
    # As it is stored, a turned image is as good as any.
    assert_same(monkeypatch, cases["turned"][0], view, target, apply_exif=False)


def test_errors_are_those_of_pillow(library, monkeypatch):
    data = jpeg(200, 200, quality=95)
    top = Placement((0, 0, 50, 50), (20, 20))  # all that is wanted comes before the damage
    for broken in (data[: len(data) // 2], data[:300], data[: len(data) // 2] + b"\xff\xd9"):
        messages = []
        for on in (True, False):
            with monkeypatch.context() as patch:
                if not on:
                    patch.setattr("jaxcv.data.view.show_jpeg", lambda *args: False)
                try:
                    decode_view(broken, lambda size: top, (20, 20), record="it")
                    messages.append("")
                except DecodeError as error:
                    messages.append(str(error))
        assert messages[0] == messages[1]


@given(place=st.integers(0, 5000), byte=st.integers(0, 255), length=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_damaged_files_do_no_harm(library, place, byte, length):
    data = bytearray(DAMAGED)
    place %= len(data)
    data[place : place + length] = bytes([byte]) * length
    view = fitting((20, 20), "crop")
    try:
        image = decode_view(bytes(data), view, (20, 20), max_pixels=10**6)
    except DecodeError:
        return
    assert image.shape == (20, 20, 3)


DAMAGED = jpeg(90, 70)


def test_it_is_not_used_where_it_is_not_built_or_not_wanted(library, monkeypatch, tmp_path):
    out = np.zeros((8, 8, 3), np.uint8)
    data = jpeg(40, 40)
    place = fitting((8, 8), "crop")((40, 40))
    assert native.show_jpeg(data, 1, place, (40, 40), out)
    assert not native.show_jpeg(data, 1, place, (40, 41), out)  # not its size
    native.load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv("JAXCV_NATIVE", "0")
        assert native.load() is None
        assert not native.show_jpeg(data, 1, place, (40, 40), out)
    native.load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert native.load() is None
    native.load.cache_clear()
    assert native.load() is not None


def test_building_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(native_build.BuildError, match="no-such-compiler cannot be run"):
        native_build.build()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(native_build.BuildError, match="libjpeg-turbo's headers"):
        native_build.build()
    assert not list(tmp_path.rglob("*.so"))


def test_a_library_that_differs_is_refused(library, monkeypatch, tmp_path):
    source = tmp_path / "other.c"
    text = native.SOURCE.read_text()
    assert "#define BITS 22" in text
    source.write_text(text.replace("#define BITS 22", "#define BITS 12"))
    monkeypatch.setattr(native, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(native_build.BuildError, match="are not those of Pillow"):
        native_build.build()
    assert not list(tmp_path.rglob("*.so"))
    native.load.cache_clear()


def test_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "no jpeglib.h")
    )
    with pytest.raises(SystemExit, match=r"(?s)not built: .*no jpeglib\.h"):
        native_build.main()
