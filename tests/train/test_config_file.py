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


TYPES = [
    ("batch_size", ["64", 64.0, True, None, [64]]),
    ("seed", ["0", 0.5, False]),
    ("epochs", ["3", True, [3]]),
    ("eval_every", [0.5, "9"]),
    ("augment", ["Flip", 3]),
    ("keep.last", ["2", None, 2.5, True]),
    ("keep.mode", ["largest", 1, None]),
    ("on_bad_record", ["ignore", True]),
    ("optimizer.learning_rate", ["0.1", None, True]),
    ("model.num_classes", ["10", 1.0, None]),
    ("task.num_classes", ["10", [10]]),
    ("data.channels", [2, "3", True]),
    ("optimizer", [0.1, "SGD", None, []]),
    ("task", ["Classification", None]),
]


@pytest.mark.parametrize(("name", "values"), TYPES, ids=[name for name, _ in TYPES])
def test_values_of_another_type_are_refused_by_name(name, values, tmp_path):
    path = tmp_path / "config.json"
    for value in values:
        tree = to_json(load_preset("digits_lenet"))
        *parents, field = name.split(".")
        part = tree
        for parent in parents:
            part = part[parent]
        assert field in part
        part[field] = value
        path.write_text(json.dumps(tree))
        with pytest.raises(ConfigError, match=rf"config\.json .*{field}") as caught:
            read_config(path)
        assert "\n" not in str(caught.value)


def test_a_whole_number_stands_for_a_float(tmp_path):
    tree = to_json(load_preset("digits_lenet"))
    tree["optimizer"]["learning_rate"] = 1
    (tmp_path / "config.json").write_text(json.dumps(tree))
    assert read_config(tmp_path / "config.json").optimizer.learning_rate == 1


TEXT = json.dumps(to_json(load_preset("digits_lenet")), indent=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it was cut short"),
        (b"\0" * 4096, "is empty: it was cut short"),
        *((TEXT[:length].encode(), "not valid JSON: line .* cut short") for length in (1, 100, 1000)),
        (TEXT[:300].encode() + b"\xff" + TEXT[300:].encode(), "byte 300 is not UTF-8"),
        (TEXT.encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 5000 + b"]" * 5000, "config.json"),
        (b"9" * 5000, "not valid JSON"),
        (b"[1, 2]", "holds no experiment"),
        (b"7", "holds no experiment"),
        (b"{}", "config.json names None"),
        (b'{"class": ["jaxcv.train.Experiment"]}', "config.json"),
        (b'{"class": "jaxcv.__main__.main"}', "jaxcv's packages"),
        (b'{"class": "jaxcv.train.Experiment"}', "does not fit jaxcv.train.Experiment: .*missing"),
        (b'{"class": "jaxcv.train.Experiment", "dat": 1}', "does not fit jaxcv.train.Experiment"),
        (b"not json", "not valid JSON: line 1, column 1"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_configuration_is_said_in_one_line(content, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_configuration_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_config(path) == load_preset("digits_lenet")


def test_a_folder_in_place_of_the_configuration_is_said(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="config.json cannot be read: Is a directory"):
        read_config(tmp_path / "config.json")
