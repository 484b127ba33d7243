"""The detection presets: written, read, their networks fit; what the small ones learn."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxcv.configs import bccd_fcos, bccd_retinanet, coco_retinanet_r50, shapes_fcos, voc_fcos
from jaxcv.data import Shapes, prepared
from jaxcv.train import Runtime, open_run, read_config, train, write_config

# Size of an image as the model meets it.
PRESETS = {
    shapes_fcos: (96, 96),
    bccd_fcos: (240, 320),
    bccd_retinanet: (240, 320),
    voc_fcos: (512, 512),
    coco_retinanet_r50: (800, 1344),
}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__.split(".")[-1])
def test_preset_fits_together(preset, tmp_path):
    experiment, size = preset.experiment(), PRESETS[preset]
    name = preset.__name__.rpartition(".")[2]
    assert f"jaxcv train {name} --workdir" in preset.__doc__
    assert getattr(experiment.data, "size", size) == size
    assert all(t.size == size for t in experiment.augment if hasattr(t, "size"))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    outputs, _ = jax.eval_shape(experiment.model.init_with_output, jax.random.key(0), images)
    experiment.task.check_outputs(outputs, images)
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment


@pytest.mark.slow
def test_shapes_are_found(tmp_path):
    """A shorter run of the preset, on smaller images."""
    preset = shapes_fcos.experiment()
    experiment = dataclasses.replace(
        preset,
        data=Shapes(num_examples=1024, num_test_examples=64, image_size=64, max_objects=4),
        steps=300,
        eval_every=300,
    )
    test = train(experiment, tmp_path, Runtime(devices=1))["test"]
    assert test["count"] == 64
    assert test["average_precision_50"] > 0.9
    assert test["average_precision_75"] > 0.6


@pytest.mark.skipif("bccd" not in prepared(), reason="the TFDS set bccd is not prepared")
def test_bccd_preset_fits_its_data():
    run = open_run(bccd_fcos.experiment(), Runtime(devices=1))
    assert (len(run.train_source), len(run.test_source)) == (205, 72)
    assert run.train_source.class_names == ("RBC", "WBC", "Platelets")
    assert run.image_shape == (240, 320, 3)
