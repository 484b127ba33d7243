"""Finding and aligning a face: a real photo, a detector of one's own, and photos that do not do."""

import doctest
import io
import os
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from jaxcv.data.decode import DecodeError, decode_image
from jaxcv.faces import cascades, detector, eyes
from jaxcv.faces.alignment import align_pixels, aligned_face
from jaxcv.faces.detector import (
    CascadeDetector,
    Face,
    NoFaceError,
    SeveralFacesError,
    one_face,
)
from jaxcv.image import FACE_TEMPLATE, align_face

# The pupils of Grace Hopper in Matplotlib's sample photo, read off by eye.
PUPILS = np.array([[221.0, 190.0], [304.0, 187.5]])


@pytest.fixture(scope="module")
def portrait():
    """Official portrait of Grace Hopper, US Navy, public domain: uint8 [600, 512, 3]."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.array(Image.open(file))


@pytest.fixture
def opencv():
    return pytest.importorskip("cv2")


def resized(image, factor):
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


class FixedDetector:
    """Finds what it is told to."""

    def __init__(self, *landmarks):
        self.faces = [
            Face(box=np.concatenate([p.min(0), p.max(0)]), landmarks=p, score=1.0)
            for p in map(np.asarray, landmarks)
        ]

    def detect(self, image):
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        return self.faces


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_a_face_and_its_eyes_are_found_at_any_size(portrait, factor):
    (face,) = CascadeDetector().detect(resized(portrait, factor))
    assert face.landmarks_found
    # Within a tenth of the distance between the eyes.
    np.testing.assert_allclose(face.landmarks[:2] / factor, PUPILS, atol=8)
    assert (face.box[:2] < face.landmarks.min(0)).all()
    assert (face.box[2:] > face.landmarks.max(0)).all()
    eyes, mouth = face.landmarks[:2].mean(0), face.landmarks[3:].mean(0)
    assert eyes[1] < face.landmarks[2, 1] < mouth[1]


@pytest.mark.usefixtures("opencv")
def test_grey_is_seen_as_colour_is(portrait):
    grey = np.array(Image.fromarray(portrait).convert("L"))
    (colour,) = CascadeDetector().detect(portrait)
    for image in (grey, grey[..., None], grey[..., None].repeat(3, axis=2)):
        (face,) = CascadeDetector().detect(image)
        np.testing.assert_allclose(face.landmarks, colour.landmarks, atol=4)


@pytest.mark.usefixtures("opencv")
def test_a_tilted_face_comes_out_upright(portrait):
    tilted = np.array(Image.fromarray(portrait).rotate(10, Image.Resampling.BICUBIC))
    upright, turned = aligned_face(portrait), aligned_face(tilted)
    middle = slice(30, 82)
    difference = np.abs(upright[middle, middle].astype(float) - turned[middle, middle]).mean()
    other = np.abs(upright[middle, middle].astype(float) - upright[middle, ::-1][:, middle]).mean()
    assert difference < 0.7 * other


@pytest.mark.usefixtures("opencv")
def test_a_face_that_fills_the_picture_needs_the_margin(portrait):
    (face,) = CascadeDetector().detect(portrait)
    x0, y0, x1, y1 = (int(v) for v in face.box + np.array([20, 20, -20, -20]))
    close = portrait[y0:y1, x0:x1]
    assert not CascadeDetector(margin=0.0).detect(close)
    assert len(CascadeDetector().detect(close)) == 1


@pytest.mark.usefixtures("opencv")
def test_several_faces_are_named_and_the_largest_may_be_taken(portrait, tmp_path):
    small = resized(portrait, 0.5)
    pair = np.zeros((600, 768, 3), np.uint8)
    pair[:, 256:], pair[:300, :256] = portrait, small
    path = tmp_path / "pair.png"
    Image.fromarray(pair).save(path)
    with pytest.raises(SeveralFacesError, match=r"pair.png: 2 faces.*--largest"):
        aligned_face(path)
    face = one_face(pair, largest=True)
    np.testing.assert_allclose(face.landmarks[:2], PUPILS + np.array([256, 0]), atol=8)
    assert aligned_face(path, largest=True).shape == (112, 112, 3)


@pytest.mark.usefixtures("opencv")
def test_no_face_is_an_error_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "flower.png"
    Image.fromarray(load_sample_images().images[1]).save(path)
    with pytest.raises(NoFaceError, match=r"flower.png: no face found in 640x427 pixels"):
        aligned_face(path)
    # What is said to be a face is not looked at.
    assert aligned_face(path, 64, channels=1, aligned=True).shape == (64, 64, 1)
    for blank in (np.zeros((1, 1, 3), np.uint8), np.full((50, 2000, 3), 255, np.uint8)):
        assert not CascadeDetector().detect(blank)


@pytest.mark.usefixtures("opencv")
def test_threads_agree(portrait):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(CascadeDetector().detect, [resized(portrait, 0.3)] * 8))
    for faces in found[1:]:
        np.testing.assert_array_equal(faces[0].landmarks, found[0][0].landmarks)


def saved_as_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return decode_image(file.getvalue())


def with_noise(image, seed):
    noise = np.random.default_rng(seed).integers(-1, 2, (*image.shape[:2], 1))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def moved(image, right, down):
    return np.roll(image, (down, right), axis=(0, 1))


# The same photo once more: (photo, factor by which it is larger, what it is moved by).
ONCE_MORE = {
    "JPEG 95": lambda x: (saved_as_jpeg(x, 95), 1, (0, 0)),
    "JPEG 80": lambda x: (saved_as_jpeg(x, 80), 1, (0, 0)),
    "noise of one": lambda x: (with_noise(x, 0), 1, (0, 0)),
    "a little smaller": lambda x: (resized(x, 0.98), 0.98, (0, 0)),
    "moved": lambda x: (moved(x, 3, 1), 1, (3, 1)),
}


def eyes_that_move(photo, others):
    """How far an eye is from where it is in `photo`, in distances between the eyes; None if unknown."""
    (face,) = CascadeDetector().detect(photo)
    pupils, found = face.landmarks[:2], []
    for image, factor, shift in others:
        (again,) = CascadeDetector().detect(image)
        distance = np.linalg.norm((again.landmarks[:2] - shift) / factor - pupils, axis=1).max()
        both = face.landmarks_found and again.landmarks_found
        found.append(distance / np.linalg.norm(pupils[1] - pupils[0]) if both else None)
    return found


@pytest.mark.usefixtures("opencv")
def test_eyes_stay_where_they_are_or_are_not_found_when_a_photo_is_saved_again(portrait):
    distances = []
    for factor in (0.3, 0.45, 1.0):
        photo = resized(portrait, factor)
        distances += eyes_that_move(photo, [change(photo) for change in ONCE_MORE.values()])
    known = [distance for distance in distances if distance is not None]
    assert max(known) < 0.03
    assert len(known) >= 13  # of 15


def test_eyes_that_views_do_not_agree_on_are_not_found():
    rng = np.random.default_rng(0)
    steady = np.array([[0.0, 0.0], [40.0, 2.0]]) + rng.normal(0, 0.5, (9, 2, 2))
    np.testing.assert_allclose(eyes.agreed(steady), steady.mean(0), atol=1e-12)
    outvoted = steady.copy()
    outvoted[:3, 0] += (0, -12)  # an eyebrow in a third of the views
    np.testing.assert_allclose(eyes.agreed(outvoted)[0], steady[3:, 0].mean(0), atol=1e-12)
    np.testing.assert_allclose(eyes.agreed(outvoted)[1], steady[:, 1].mean(0), atol=1e-12)
    divided = steady.copy()
    divided[:4, 1] += (0, -12)
    assert eyes.agreed(divided) is None
    rarely = steady.copy()
    rarely[:4, 0] = np.nan
    assert eyes.agreed(rarely) is None
    assert eyes.agreed(np.full((9, 2, 2), np.nan)) is None
    scattered = steady + 4 * rng.uniform(-1, 1, steady.shape)  # all near, and no two alike
    assert eyes.agreed(scattered) is None
    # Eyes as near to each other as votes differ are none.
    assert eyes.agreed(rng.normal(0, 1, (9, 2, 2))) is None


@pytest.mark.usefixtures("opencv")
def test_eyes_that_are_not_found_are_said(portrait, caplog):
    hidden = portrait.copy()
    hidden[165:215, 190:335] = 90  # a bar over the eyes
    (face,) = CascadeDetector(min_agreement=1).detect(hidden)[:1]
    assert not face.landmarks_found

    class Blindfolded:
        def detect(self, image):
            return [face]

    aligned_face(hidden, detector=Blindfolded(), name="ada.jpg")
    assert "ada.jpg: eyes not found: aligned by the outline of the face" in caplog.text
    caplog.clear()
    aligned_face(portrait)
    assert not caplog.records


def orl_on_a_wall(source, index):
    """An ORL face in the middle of a grey wall."""
    photo = np.full((400, 350, 3), 150, np.uint8)
    face = Image.fromarray(source[index]["image"][..., 0]).resize((184, 224))
    photo[80:304, 60:244] = np.asarray(face)[..., None]
    return photo


@pytest.mark.slow
@pytest.mark.usefixtures("opencv")
def test_eyes_of_orl_stay_where_they_are():
    """Every fortieth of the 400 photos."""
    folder = os.environ.get("TFDS_DATA_DIR", "")
    if not folder or not (pathlib.Path(folder) / "orl_faces").is_dir():
        pytest.skip("the ORL faces are not prepared in TFDS_DATA_DIR")
    from jaxcv.data import TFDS

    source = TFDS(name="orl_faces").open("train")
    distances = []
    for index in range(0, len(source), 40):
        photo = orl_on_a_wall(source, index)
        distances += eyes_that_move(photo, [change(photo) for change in ONCE_MORE.values()])
    known = [distance for distance in distances if distance is not None]
    assert max(known) < 0.03
    assert len(known) >= 0.85 * len(distances)


@pytest.mark.slow
@pytest.mark.usefixtures("opencv")
def test_every_face_of_orl_is_found():
    folder = os.environ.get("TFDS_DATA_DIR", "")
    if not folder or not (pathlib.Path(folder) / "orl_faces").is_dir():
        pytest.skip("the ORL faces are not prepared in TFDS_DATA_DIR")
    from jaxcv.data import TFDS

    source = TFDS(name="orl_faces").open("train")
    found = [CascadeDetector().detect(source[i]["image"]) for i in range(len(source))]
    assert [len(faces) for faces in found].count(1) >= 396
    assert sum(faces[0].landmarks_found for faces in found if faces) >= 385


def test_a_detector_of_ones_own_is_used(portrait):
    landmarks = np.array([[221, 190], [304, 187], [265, 235], [235, 272], [302, 268.0]])
    face = aligned_face(portrait, 224, detector=FixedDetector(landmarks))
    wanted = np.asarray(jax.jit(align_face, static_argnums=2)(portrait, landmarks, 224))
    # Pillow rounds the interpolated value down where jaxcv rounds to the nearest.
    assert np.abs(face.astype(int) - wanted).max() <= 2
    with pytest.raises(SeveralFacesError, match="the picture: 2 faces"):
        aligned_face(portrait, detector=FixedDetector(landmarks, landmarks + 9))
    with pytest.raises(NoFaceError, match="a.jpg: no face"):
        aligned_face(portrait, detector=FixedDetector(), name="a.jpg")


def test_a_large_face_is_averaged_and_lands_where_a_small_one_does(portrait):
    landmarks = np.array([[221, 190], [304, 187], [265, 235], [235, 272], [302, 268.0]])
    small = align_pixels(portrait, landmarks, 40)
    large = align_pixels(resized(portrait, 4.0), landmarks * 4, 40)
    assert np.abs(small.astype(int) - large).mean() < 4
    # Black and white points are grey from afar.
    board = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (600, 600))[..., None]
    middle = align_pixels(board, FACE_TEMPLATE * 10, 112)[4:-4, 4:-4]
    assert np.abs(middle.astype(int) - 127).max() <= 26


def test_colours_and_channels_keep_their_order():
    red = np.zeros((112, 112, 3), np.uint8)
    red[..., 0] = 200
    detector = FixedDetector(FACE_TEMPLATE)
    np.testing.assert_array_equal(aligned_face(red, detector=detector), red)
    grey = aligned_face(red, channels=1, detector=detector)
    np.testing.assert_array_equal(grey, np.full((112, 112, 1), round(0.299 * 200)))
    plain = aligned_face(red[..., 0], detector=detector)
    np.testing.assert_array_equal(plain, red[..., :1].repeat(3, axis=2))


def test_a_file_is_turned_upright_and_read_as_rgb(tmp_path):
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, :, 0], picture[20:, :, 2] = 250, 250  # red above blue
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(picture[::-1, ::-1]).save(path, exif=exif, quality=95)
    face = aligned_face(path, 40, aligned=True)
    assert face[5, 20, 0] > 200 > 50 > face[5, 20, 2]
    assert face[35, 20, 2] > 200 > 50 > face[35, 20, 0]


def test_cropped_faces_are_cut_or_padded_to_a_square():
    face = np.arange(112 * 92, dtype=np.uint32).astype(np.uint8).reshape(112, 92)
    cut = aligned_face(face, 92, channels=1, aligned=True)
    np.testing.assert_array_equal(cut[..., 0], face[10:102])
    padded = aligned_face(face, 112, channels=1, aligned=True, fit="pad")
    np.testing.assert_array_equal(padded[:, 10:102, 0], face)
    assert not padded[:, :10].any()


def test_unreadable_pictures_and_wrong_arrays_are_named(tmp_path):
    with pytest.raises(DecodeError, match="nobody.jpg: cannot be read: No such file"):
        aligned_face(tmp_path / "nobody.jpg")
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    path = tmp_path / "half.png"
    path.write_bytes(file.getvalue()[:60])
    with pytest.raises(DecodeError, match="half.png"):
        aligned_face(path)
    with pytest.raises(ValueError, match=r"found float32 of shape \(8, 8, 3\)"):
        aligned_face(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="channels must be 1 or 3, not 2"):
        aligned_face(np.zeros((8, 8, 3), np.uint8), channels=2)
    with pytest.raises(ValueError, match="not those of a face"):
        align_pixels(np.zeros((8, 8, 3), np.uint8), np.full((5, 2), np.nan))


@pytest.mark.usefixtures("opencv")
def test_a_detector_refuses_what_is_no_picture():
    for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8), np.uint8)):
        with pytest.raises(ValueError, match=r"RGB pictures uint8 \[H, W, 3\]"):
            CascadeDetector().detect(wrong)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="smallest >= 20, but it is 3"):
        CascadeDetector(smallest=3)
    with pytest.raises(ValueError, match="scale_step > 1, but it is 1.0"):
        CascadeDetector(scale_step=1.0)


def test_a_missing_or_too_new_opencv_says_what_to_install(monkeypatch):
    picture = np.zeros((64, 64, 3), np.uint8)
    cascades.opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "jaxcv\[faces\]"'):
        CascadeDetector().detect(picture)

    class Opencv5:
        __version__ = "5.0.0"

    monkeypatch.setitem(sys.modules, "cv2", Opencv5)
    with pytest.raises(ImportError, match=r"OpenCV 5.0.0 has no cascades.*jaxcv\[faces\]"):
        CascadeDetector().detect(picture)
    cascades.opencv.cache_clear()


def test_examples_run():
    for module in (detector, eyes):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed
