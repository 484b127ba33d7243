"""The task of docs/add_a_task.md, run as it stands there: a file of one's own with all that tasks have."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "add_a_task.md"


@pytest.fixture
def room(tmp_path, monkeypatch):
    """denoise.py as the page has it, and smooth pictures of two kinds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "denoise", raising=False)  # of the test before
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    # The page shows the imports of the presentation after it; in the file they stand on top.
    imports = [block for block in blocks if block.startswith("from jaxcv.predict")]
    others = [block for block in blocks if block not in imports]
    head, _, rest = "\n\n".join(others).partition("\n\n\n")
    Path("denoise.py").write_text("\n".join([head, *imports, "", rest]))
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:24, :24] / 24
    for number in range(20):
        kind = ("waves", "slopes")[number % 2]
        a, b = rng.uniform(2, 9, 2)
        level = np.sin(a * down + b * across) if kind == "waves" else a * down - b * across
        level = (level - level.min()) / np.ptp(level)
        Path("pictures", kind).mkdir(parents=True, exist_ok=True)
        pixels = np.round(255 * np.stack([level, 1 - level, level**2], -1)).astype(np.uint8)
        Image.fromarray(pixels).save(f"pictures/{kind}/{number}.png")
    return tmp_path


def test_the_page_trains_predicts_and_reports(room, capsys):
    small = ["--data.data.size=24", "--model.width=8", "--model.depth=2", "--batch-size=8"]
    steps = ["--steps=60", "--eval-every=60", "--eval-batch-size=8", "--devices=1"]
    assert main(["train", "denoise.py", "--workdir", "run", *small, *steps]) == 0
    said = capsys.readouterr().out
    assert "psnr" in said, "the headline is printed"

    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    (tested,) = [row for row in rows if row["split"] == "test"]
    # Noise of 25 levels is a PSNR of 20 dB; some of it is cut off at black and white.
    assert tested["psnr"] > 21.5

    report = Path("run/report.html").read_text()
    for text in ("PSNR", "dB", "Worst restored pictures", "restored", "clean"):
        assert text in report, text

    noisy = np.asarray(Image.open("pictures/waves/0.png")).astype(float)
    noisy += np.random.default_rng(1).normal(0, 25, noisy.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save("noisy.png")
    command = ["predict", "run", "noisy.png", "--preset", "denoise.py", "--devices", "1"]
    assert main([*command, "--strength", "1.0"]) == 0
    assert "levels removed" in capsys.readouterr().out
    (row,) = [json.loads(line) for line in Path("run/predictions.jsonl").read_text().splitlines()]
    clean = np.asarray(Image.open("pictures/waves/0.png")).astype(float)
    restored = np.asarray(Image.open(row["restored"])).astype(float)
    seen = np.asarray(Image.open("noisy.png")).astype(float)
    assert np.mean((restored - clean) ** 2) < 0.8 * np.mean((seen - clean) ** 2)


def test_its_options_are_those_of_its_runs_alone(room, capsys):
    small = [
        "--data.data.size",
        "24",
        "--model.width",
        "2",
        "--model.depth",
        "1",
        "--batch-size",
        "4",
        "--steps",
        "1",
    ]
    assert (
        main(["train", "denoise.py", "--workdir", "run", *small, "--steps=1", "--devices=1"]) == 0
    )
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", "run", "--preset", "denoise.py", "--help"])
    shown = capsys.readouterr().out
    assert "--strength" in shown
    assert "--window" not in shown
