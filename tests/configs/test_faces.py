"""The face presets: each fits together, and the small one trains and verifies."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxcv.configs import (
    faces_glint360k_r100,
    faces_ms1mv3_r50,
    faces_orl,
    faces_webface42m_r100_pfc,
)
from jaxcv.data import Arrays, prepared
from jaxcv.losses import ArcFace, CosFace
from jaxcv.models import EmbeddingOutputs
from jaxcv.train import Runtime, open_run, read_config, train, write_config

ONE_DEVICE = Runtime(devices=1)
# People and pictures as the data sets' makers count them; margin; sampled part of the classes.
LARGE = {
    faces_ms1mv3_r50: (93_431, 50, ArcFace(scale=64.0, margin=0.5), 1.0),
    faces_glint360k_r100: (360_232, 100, CosFace(scale=64.0, margin=0.4), 1.0),
    faces_webface42m_r100_pfc: (2_059_906, 100, CosFace(scale=64.0, margin=0.4), 0.2),
}


def name(module):
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("preset", [faces_orl, *LARGE], ids=name)
def test_every_preset_is_written_and_read_as_it_is(preset, tmp_path):
    experiment = preset.experiment()
    assert f"jaxcv train {name(preset)} " in preset.__doc__
    assert experiment.model.num_classes == experiment.task.num_classes == preset.PEOPLE
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment


@pytest.mark.parametrize("preset", LARGE, ids=name)
def test_large_presets_have_everybody_and_the_recipe(preset):
    people, depth, margin, sampling_rate = LARGE[preset]
    experiment = preset.experiment()
    assert preset.PEOPLE + experiment.data.test_identities == people
    assert experiment.model.backbone.depth == depth
    assert (experiment.task.margin, experiment.task.sampling_rate) == (margin, sampling_rate)
    # The rows that the docstring counts; eight devices share them evenly.
    rows = -(-preset.PEOPLE // experiment.model.multiple_of) * experiment.model.multiple_of
    assert f"{rows:,}" in preset.__doc__
    assert rows % 8 == 0


def test_what_the_memory_of_a_large_preset_is_counted_from():
    """The classifier as documented: [93,056, 512], and 43.6 million weights in the network."""
    experiment = faces_ms1mv3_r50.experiment()
    images = jax.ShapeDtypeStruct((2, 112, 112, 3), np.float32)
    variables = jax.eval_shape(lambda x: experiment.model.init(jax.random.key(0), x), images)
    params = nn.unbox(variables)["params"]
    assert params["classifier"].shape == (93_056, 512)
    network = sum(leaf.size for leaf in jax.tree.leaves(params["backbone"]))
    assert network == 43_590_848
    outputs = EmbeddingOutputs(jax.ShapeDtypeStruct((2, 512), np.float32), params["classifier"])
    experiment.task.check_outputs(outputs, images)


def people(count=40, pictures=3):
    """Noisy pictures [N, 32, 28, 1] of a pattern for each person."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(count), pictures)
    pattern = rng.integers(0, 256, (count, 8, 7)).repeat(4, 1).repeat(4, 2)[label]
    image = np.clip(pattern + rng.normal(0, 10, pattern.shape), 0, 255).astype(np.uint8)
    # With a test set of its own, so that all of these are in `train`.
    return Arrays(images=image, labels=label, test_images=image[:1], test_labels=label[:1])


def on_noise():
    """The ORL preset on such people, for 4 steps."""
    preset = faces_orl.experiment()
    data = dataclasses.replace(preset.data, data=people())
    return dataclasses.replace(preset, data=data, steps=4, eval_every=4, batch_size=16)


def test_orl_preset_fits_together_and_tests_on_other_people():
    run = open_run(on_noise(), ONE_DEVICE)
    assert run.image_shape == (32, 28, 1)
    assert (len(run.train_source), len(run.test_source)) == (30 * 3, 10 * 3)
    assert not set(run.train_source.class_names) & set(run.test_source.class_names)


@pytest.mark.slow
def test_orl_preset_trains_and_verifies(tmp_path):
    test = train(on_noise(), tmp_path, ONE_DEVICE)["test"]
    # 10 people, 3 pictures of each: 10 * 3 genuine pairs of 30 * 29 / 2.
    assert (test["count"], test["genuine_pairs"], test["impostor_pairs"]) == (30, 30, 405)
    assert 0 <= test["equal_error_rate"] < 0.5 < test["area_under_roc"] <= 1
    assert 0 <= test["true_accept_rate_at_far_0.01"] <= 1


@pytest.mark.slow
@pytest.mark.skipif("orl_faces" not in prepared(), reason="the TFDS set orl_faces is not prepared")
def test_orl_preset_errs_less_than_eigenfaces_on_the_same_people(tmp_path):
    from sklearn.decomposition import PCA

    from jaxcv.tasks.faces.recognition import compare_all_pairs

    preset = faces_orl.experiment()
    trained, tested = (preset.data.open(split) for split in ("train", "test"))
    rows, others = (
        np.stack([each[i]["image"].ravel() for i in range(len(each))]) for each in (trained, tested)
    )
    embedding = PCA(100, random_state=0).fit(rows).transform(others)
    examples = {"embedding": embedding, "label": tested.labels}
    eigenfaces = compare_all_pairs(examples, (0.01,))
    experiment = dataclasses.replace(preset, steps=200, eval_every=200)
    test = train(experiment, tmp_path, ONE_DEVICE)["test"]
    assert test["equal_error_rate"] < 0.7 * eigenfaces["equal_error_rate"]
