"""The README's Python runs, and its commands exist."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import COMMANDS, main
from jaxcv.cli.presets import presets

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "readme.py"
    script.write_text("\n\n".join(PYTHON))
    names = runpy.run_path(str(script))
    np.testing.assert_allclose(names["loss"].shape, (2,))
    assert int(names["state"].step) == 1


def test_commands_and_paths_that_are_named_exist():
    commands = set(re.findall(r"^jaxcv (\w+)", TEXT, re.MULTILINE))
    assert commands <= set(COMMANDS)
    for name in re.findall(r"jaxcv train (\w+)(?![\w.])", TEXT):
        if f"{name}.py" not in TEXT:
            assert name in presets()
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_tour_on_a_folder_of_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, name in enumerate(["aster", "daisy", "iris", "rose", "tulip"]):
        folder = tmp_path / "flowers" / name
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 60, (70, 90, 3)) + 40 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.jpg")
    (tmp_path / "flowers.py").write_text(PYTHON[0])
    block = next(b for b in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) if "flowers.py" in b)
    short = ["--epochs", "None", "--steps", "2", "--model.width", "4", "--devices", "1"]
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "predict":
            words = [*words[:2], "flowers/rose/", "flowers/*/1.jpg"]
        words += short if words[0] == "train" else ["--devices", "1"]
        assert main(words) == 0, line
    out = capsys.readouterr().out
    assert "14 predictions" in out
    assert (tmp_path / "runs/flowers/report.html").exists()
