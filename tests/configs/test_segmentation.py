"""The segmentation presets: written, read, and their networks give what their tasks want."""

import jax
import jax.numpy as jnp
import pytest

from jaxcv.configs import camvid_deeplab, camvid_unet, cityscapes_deeplab, pets_unet
from jaxcv.train import read_config, write_config

# Size of an image as the model meets it; number of images of the data set's makers.
PRESETS = {
    camvid_unet: (120, 160),
    camvid_deeplab: (120, 160),
    pets_unet: (128, 128),
    cityscapes_deeplab: (1024, 2048),
}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__.split(".")[-1])
def test_preset_fits_together(preset, tmp_path):
    experiment, size = preset.experiment(), PRESETS[preset]
    name = preset.__name__.rpartition(".")[2]
    assert f"jaxcv train {name} --workdir" in preset.__doc__
    assert experiment.task.num_classes == len(experiment.data.class_names)
    assert experiment.data.size in (size, None)
    assert [t.size for t in experiment.augment if hasattr(t, "size")] == [size]
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    outputs, _ = jax.eval_shape(experiment.model.init_with_output, jax.random.key(0), images)
    experiment.task.check_outputs(outputs, images)
    assert isinstance(outputs, dict) == ("deeplab" in name)
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment
