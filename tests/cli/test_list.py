"""`jaxcv list`: short enough to be read, and whole as JSON."""

import dataclasses
import json

import pytest

from jaxcv.cli import list as listing
from jaxcv.cli.list import Listed, data_state
from jaxcv.cli.main import main
from jaxcv.cli.presets import presets
from jaxcv.data import TFDS, Digits, DisjointIdentities, Folder, MaskFolder


def printed(capsys, *words):
    assert main(["list", *words]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def nothing_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))


def test_every_preset_stands_under_its_task_in_80_columns(capsys):
    lines = printed(capsys).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 50
    titles = {"classification", "detection", "faces", "segmentation"}
    heading, found = "", {}
    for line in lines:
        if not line.startswith(" "):
            heading = line.split(" (")[0]
        elif heading in titles and not line.startswith("   "):
            found[line.split()[0]] = heading
    assert sorted(found) == presets()
    assert found["digits_lenet"] == "classification"
    assert found["voc_fcos"] == "detection"
    assert found["faces_orl"] == "faces"
    assert found["camvid_unet"] == "segmentation"


def test_what_stands_in_the_way_of_a_preset_is_said_in_a_word(capsys):
    text = printed(capsys)
    assert "imagenet_resnet50  ResNet-50 on ImageNet: bfloat16 (not prepared, 8 chips)" in text
    assert "face_cnn_64        Face or no face (bring data)" in text
    assert "digits_lenet       LeNet on the 1,797 handwritten digits\n" in text
    assert text.endswith("prepared by TFDS here:\n  none\n")


def test_all_of_it_as_json(capsys):
    found = json.loads(printed(capsys, "--json"))
    assert sorted(preset["name"] for preset in found["presets"]) == presets()
    digits = next(p for p in found["presets"] if p["name"] == "digits_lenet")
    assert digits["task"] == "classification"
    assert (digits["data"], digits["accelerators"]) == ("ready", 1)
    assert digits["about"].startswith("LeNet on the 1,797 handwritten digits")
    assert "ResNet" in found["models"]
    assert "Folder" in found["data_sets"]
    assert found["prepared"] == []


@pytest.mark.parametrize("width", [1, 30, 50])
def test_long_names_and_sentences_break_no_column(capsys, width):
    preset = Listed(
        name="n" * width,
        task="detection",
        about=f"One{' word' * 30}, then more: and more.",
        data="not prepared",
        accelerators=8,
    )
    listing._print_presets([preset, dataclasses.replace(preset, name="m", about="Short.")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line[width + 2 : width + 4] for line in lines} == {"  "}
    words = " ".join(" ".join(line.split()) for line in lines)
    assert words.startswith(f"{'n' * width} One{' word' * 30} (not prepared, 8 chips) m Short (")


def test_where_data_are_is_told_without_opening_them(tmp_path):
    here, nowhere = str(tmp_path), str(tmp_path / "nowhere")
    assert data_state(Digits()) == data_state(Folder(root=here)) == "ready"
    assert data_state(Folder(root=nowhere)) == "bring data"
    assert (
        data_state(DisjointIdentities(data=Folder(root=nowhere), test_identities=1)) == "bring data"
    )
    assert data_state(MaskFolder(images=nowhere, masks=here, class_names=("a",))) == "bring data"
    assert data_state(TFDS(name="mnist")) == "not prepared"
