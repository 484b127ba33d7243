"""config.json: everything that decides a run, read back without running foreign code."""

import dataclasses
import json
from pathlib import Path

import pytest

from jaxcv.cli.options import load_preset
from jaxcv.cli.presets import presets
from jaxcv.data import BalancedIdentities
from jaxcv.models import LeNet
from jaxcv.train import ConfigError, read_config, write_config
from jaxcv.train.config_file import to_json


@pytest.mark.parametrize("name", presets())
def test_every_preset_comes_back_equal(name, tmp_path):
    experiment = load_preset(name)
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment


EARLIER = json.loads(Path(__file__).with_name("earlier_configs.json").read_text())


@pytest.mark.parametrize("name", EARLIER)
def test_a_run_of_an_earlier_version_is_read_and_goes_on(name, tmp_path):
    """As the presets were written before classes and fields moved: `earlier_configs.json`."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(EARLIER[name]))
    assert to_json(read_config(path)) == to_json(load_preset(name))
    write_config(path, load_preset(name))  # finds no difference


def test_fields_of_earlier_experiments_are_upgraded(tmp_path):
    """An experiment on pairs as it was written when the sampler was a number."""
    wanted = dataclasses.replace(
        load_preset("digits_lenet"), sampler=BalancedIdentities(images_per_identity=3)
    )
    tree = to_json(wanted)
    tree["images_per_identity"] = tree.pop("sampler")["images_per_identity"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tree))
    assert read_config(path) == wanted
    write_config(path, wanted)  # finds no difference


def test_visibility_of_boxes_has_moved_to_the_task(tmp_path):
    """Where the task has no boxes the number meant nothing, and is dropped."""
    path = tmp_path / "config.json"
    for name in ("voc_fcos", "digits_lenet"):
        wanted = load_preset(name)
        tree = to_json(wanted)
        assert "min_visibility" not in tree
        tree["min_visibility"] = tree["task"].pop("min_visibility", 0.7)
        path.write_text(json.dumps(tree))
        assert read_config(path) == wanted
    assert load_preset("voc_fcos").task.min_visibility == 0.25


def test_same_experiment_may_be_written_again(tmp_path):
    path = tmp_path / "config.json"
    write_config(path, load_preset("digits_lenet"))
    before = path.read_bytes()
    write_config(path, load_preset("digits_lenet"))
    assert path.read_bytes() == before


def test_another_experiment_is_refused_with_both_values(tmp_path):
    path, experiment = tmp_path / "config.json", load_preset("digits_lenet")
    write_config(path, experiment)
    before = path.read_bytes()
    other = dataclasses.replace(experiment, seed=7, model=LeNet(num_classes=11))
    with pytest.raises(ConfigError) as caught:
        write_config(path, other)
    assert "seed was 0 and is now 7" in str(caught.value)
    assert "model.num_classes was 10 and is now 11" in str(caught.value)
    assert path.read_bytes() == before


def edited(tmp_path, edit):
    tree = to_json(load_preset("digits_lenet"))
    edit(tree)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t["model"].update({"class": "os.system"}), "no dataclass in os"),
        (lambda t: t["model"].update({"class": "antigravity.Flight"}), "antigravity"),
        (
            lambda t: t["model"].update({"class": "jaxcv.__main__.Train"}),
            "packages data, image, losses, models, tasks, train alone",
        ),
        (
            lambda t: t["model"].update({"class": "jaxcv.models.importlib"}),
            "no dataclass in jaxcv.models 'importlib'",
        ),
        (
            lambda t: t["model"].update({"class": "jaxcv.models.lenet.LeNut"}),
            "did you mean 'LeNet'?",
        ),
        (lambda t: t["model"].update({"class": "jaxcv.nowhere.LeNet"}), "jaxcv.nowhere.LeNet"),
        (lambda t: t["model"].update({"widht": 3}), "widht"),
        (lambda t: t.update({"class": "jaxcv.models.lenet.LeNet"}), "does not fit"),
    ],
)
def test_a_file_cannot_call_anything_else(tmp_path, edit, message):
    import sys

    with pytest.raises(ConfigError, match=message):
        read_config(edited(tmp_path, edit))
    assert "antigravity" not in sys.modules


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_config(tmp_path / "config.json")


def test_a_value_that_json_cannot_hold_is_named():
    with pytest.raises(ConfigError, match="function"):
        to_json(dataclasses.replace(load_preset("digits_lenet"), augment=(lambda key, x: x,)))
