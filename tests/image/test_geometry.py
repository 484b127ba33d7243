import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcv import image as ji

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Smaller and larger. With powers of two no point falls on the border of two pixels, where Pillow's
# "nearest" depends on how it sums its floats.
SIZES = ((16, 32), (64, 128))


@pytest.fixture(scope="module")
def resized(photo):
    """Every filter and size, in float and uint8, from one compilation."""

    @jax.jit
    def all_of_them(images):
        return [
            {(m, s): ji.resize(image, s, method=m) for m in FILTERS for s in SIZES}
            for image in images
        ]

    return all_of_them((ji.to_float(photo), photo))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", FILTERS)
def test_resize_equals_pillow(photo, resized, method, size):
    # Pillow's float images, a channel each: its uint8 is rounded and clipped between two passes.
    channels = [Image.fromarray(photo[..., c].astype(np.float32) / 255) for c in range(3)]
    expected = np.stack([c.resize(size[::-1], FILTERS[method]) for c in channels], axis=-1)
    np.testing.assert_allclose(resized[0][method, size], np.clip(expected, 0, 1), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", FILTERS)
def test_resized_uint8_is_the_float_rounded(resized, method, size):
    assert resized[1][method, size].dtype == jnp.uint8
    expected = np.asarray(resized[0][method, size]) * 255
    np.testing.assert_allclose(resized[1][method, size], expected, atol=0.501)


def test_nearest_breaks_ties_towards_the_later_pixel():
    ramp = jnp.arange(4)[None, :, None]
    assert ji.resize(ramp, (1, 2), method="nearest")[0, :, 0].tolist() == [1, 3]
    assert ji.resize(ramp, (1, 8), method="nearest")[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_resize_to_the_same_size_is_the_identity(photo):
    np.testing.assert_array_equal(ji.resize(photo, photo.shape[:2], method="lanczos"), photo)


def test_resize_keeps_label_maps_whole():
    labels = jnp.asarray([[0, 7], [255, 3]], jnp.int32)[..., None]
    larger = ji.resize(labels, (4, 4), method="nearest")
    assert larger.dtype == jnp.int32
    np.testing.assert_array_equal(larger[::2, ::2], labels)


def test_resize_with_overshoot_stays_in_range():
    edge = jnp.zeros((8, 8, 1)).at[:, 4:].set(1.0)
    larger = ji.resize(edge, 21, method="lanczos")
    assert float(larger.min()) == 0.0
    assert float(larger.max()) == 1.0


def test_a_batch_is_resized_image_by_image(photo):
    batch = np.stack([photo, photo[::-1]])
    resize = jax.jit(ji.resize, static_argnums=1)
    np.testing.assert_array_equal(resize(batch, SIZES[0])[1], resize(batch[1], SIZES[0]))


def test_flips(photo):
    np.testing.assert_array_equal(ji.flip_horizontal(photo), dm_pix.flip_left_right(photo))
    np.testing.assert_array_equal(ji.flip_vertical(photo), dm_pix.flip_up_down(photo))
    np.testing.assert_array_equal(ji.flip_horizontal(ji.flip_horizontal(photo)), photo)
    np.testing.assert_array_equal(ji.flip_vertical(ji.flip_vertical(photo)), photo)


def test_crop_is_a_slice(photo):
    np.testing.assert_array_equal(ji.crop(photo, 3, 5, (7, 11)), photo[3:10, 5:16])
    traced = jax.jit(lambda image, top: ji.crop(image, top, 5, (7, 11)))(photo, 3)
    np.testing.assert_array_equal(traced, photo[3:10, 5:16])
    batch = np.stack([photo, photo[::-1]])
    np.testing.assert_array_equal(ji.crop(batch, 3, 5, 7), batch[:, 3:10, 5:12])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("room", [(0, 0), (1, 2), (3, 4), (7, 8), (12, 0)])
def test_crops_of_a_batch_on_a_tpu(room, dtype, monkeypatch):
    size = (4, 5)
    shape = (16, size[0] + room[0], size[1] + room[1], 2)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape), dtype)
    # Beyond the image on both sides, too.
    tops, lefts = (jnp.asarray(np.linspace(-2, r + 2, len(images)), jnp.int32) for r in room)

    def crops():
        return jax.vmap(lambda x, top, left: ji.crop(x, top, left, size))(images, tops, lefts)

    wanted = crops()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    np.testing.assert_array_equal(crops(), wanted)
    assert "dynamic_slice" not in str(jax.make_jaxpr(crops)())
    assert ji.crop(images, 0, room[1], size).shape == (16, *size, 2)


def test_center_crop(photo):
    np.testing.assert_array_equal(ji.center_crop(photo, (20, 21)), photo[10:30, 17:38])
    np.testing.assert_array_equal(
        ji.center_crop(photo, (20, 20)), dm_pix.center_crop(photo, 20, 20)
    )
    np.testing.assert_array_equal(ji.center_crop(photo, photo.shape[:2]), photo)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad_equals_numpy(photo, mode):
    values = {"constant_values": 9} if mode == "constant" else {}
    expected = np.pad(photo, ((2, 2), (3, 3), (0, 0)), mode, **values)
    np.testing.assert_array_equal(ji.pad(photo, (2, 3), mode=mode, fill=9), expected)


def test_pad_and_center_crop_are_inverse(photo):
    np.testing.assert_array_equal(ji.center_crop(ji.pad(photo, 4), photo.shape[:2]), photo)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda image: ji.crop(image, 0, 0, (41, 3)), "41 x 3"),
        (lambda image: ji.crop(image, 38, 0, 3), "top=38"),
        (lambda image: ji.crop(image, 0, -1, 3), "left=-1"),
        (lambda image: ji.center_crop(image, 57), "57 x 57"),
        (lambda image: ji.pad(image, -1), "padding is -1"),
        (lambda image: ji.pad(image, 40, mode="reflect"), "padding=40"),
        (lambda image: ji.pad(image, 1, mode="wrap"), "mode is 'wrap', but must be"),
        (lambda image: ji.pad(image, 1, fill=0.5), "fill=0.5"),
        (lambda image: ji.pad(image, 1, fill=256), "fill=256"),
        (lambda image: ji.resize(image, 0), "size=0"),
        (lambda image: ji.resize(image, 9, method="cubic"), "bicubic"),
        (lambda image: ji.flip_horizontal(image[0]), "shape"),
    ],
)
def test_bad_input(photo, operation, message):
    with pytest.raises(ValueError, match=message):
        operation(photo)
