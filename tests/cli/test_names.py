"""Names of files and classes on their way through a run: terminal, JSON lines, metrics, report."""

import json
import os
import subprocess
import sys
import unicodedata
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.data import Folder
from jaxcv.data.sheet import contact_sheet
from jaxcv.faces.pair_figure import pair_figure
from jaxcv.models import MLP
from jaxcv.predict.images import unique_stems
from jaxcv.tasks import Classification
from jaxcv.train import Experiment, Optimizer, Runtime, train

CLASSES = (b"\x1b[31mred\x07", b"caf\xe9", "José".encode(), "photo\u202egnp".encode(), b"a$\\x{$")
FILES = (
    *(
        b"caf\xe9.png",
        b"\x1b]0;owned\x07.png",
        "猫 é.png".encode(),
        b"two\nlines.png",
        b"plain.png",
    ),
    *("r\u202egnp.png".encode(), b"\x9b31m.png", b"a$\\x{$.png", b"bad\xff.png"),
)


def files_in(folder, names):
    os.makedirs(folder)
    for i, name in enumerate(names):
        picture = os.path.join(os.fsencode(folder), name)
        if name.startswith(b"bad"):
            with open(picture, "wb") as file:
                file.write(b"no image \x1b[31m \x00")
        else:
            Image.new("RGB", (8, 8), (25 * i, 0, 0)).save(os.fsdecode(picture), "PNG")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of two steps whose classes have names of every bad kind."""
    root = tmp_path_factory.mktemp("names")
    for name in CLASSES:
        files_in(
            os.path.join(os.fsencode(root / "classes"), name), [b"%d.png" % i for i in range(5)]
        )
    experiment = Experiment(
        data=Folder(root=str(root / "classes"), size=8),
        model=MLP(num_classes=len(CLASSES), hidden=()),
        task=Classification(num_classes=len(CLASSES)),
        optimizer=Optimizer(learning_rate=0.1),
        batch_size=4,
        eval_batch_size=4,
        steps=2,
    )
    train(experiment, root / "run", Runtime(devices=1))
    files_in(os.fsencode(root / "files"), FILES)
    return root / "run"


def assert_harmless(text):
    """Nothing reaches a terminal that it would do rather than show, and all of it is UTF-8."""
    text.encode()
    assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}


def test_predictions_of_a_folder_of_such_files(workdir, capsys, tmp_path):
    output = tmp_path / "rows.jsonl"
    files = str(workdir.parent / "files")
    assert main(["predict", str(workdir), files, "--output", str(output), "--devices", "1"]) == 0
    out, err = capsys.readouterr()
    assert_harmless(out + err)
    assert len(out.splitlines()) == len(FILES) + 1
    for shown in (r"caf\xe9.png", r"\x1b]0;owned\x07.png", "猫 é.png", r"two\nlines.png"):
        assert f"files/{shown}  " in out
    assert "8 predictions, 1 unreadable" in out
    rows = [json.loads(line) for line in output.read_text("ascii").splitlines()]
    found = set()
    for row in rows:
        json.dumps(row, ensure_ascii=False).encode()  # no lone surrogate for a strict parser
        raw = urllib.parse.unquote_to_bytes(row["file_bytes"]) if "file_bytes" in row else None
        found.add(os.path.basename(raw or row["file"].encode()))
        if "error" not in row:
            assert set(row["probabilities"]) == {
                *("\\x1b[31mred\\x07", "caf\\xe9", "José", "photo\\u202egnp", "a$\\x{$")
            }
    assert found == set(FILES)


def test_the_run_itself_and_its_report(workdir, capsys):
    for name in ("metrics.jsonl", "config.json", "environment.json"):
        json.dumps((workdir / name).read_text("utf-8"), ensure_ascii=False).encode()
    assert main(["evaluate", str(workdir), "--devices", "1"]) == 0
    assert main(["report", str(workdir), "--devices", "1"]) == 0
    out, err = capsys.readouterr()
    assert_harmless(out + err)
    page = (workdir / "report.html").read_bytes().decode("utf-8")
    assert_harmless(page.replace("\t", ""))
    assert "caf\\xe9" in page


def test_errors_and_warnings_are_harmless(workdir, capsys, tmp_path):
    bad = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\x1b[2J caf\xe9\n\x9b7m"))
    os.makedirs(os.path.join(bad, "\x1b[31ma"))
    for words in (
        ["predict", str(workdir), bad],
        ["predict", str(workdir), os.path.join(bad, "\x1b[1mno.png")],
        ["predict", bad, "x.png"],
        ["report", bad],
        ["\x1b[31mtrain"],
        ["train", "digits\x1b[31m", "--workdir", bad],
        ["subjects", bad],
        ["remove", bad, "\x1b[31m\u202e"],
    ):
        assert main([*words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert_harmless(err)


def test_figures_take_such_names(workdir, tmp_path):
    grey = np.zeros((8, 8, 1), np.uint8)
    for name in map(os.fsdecode, FILES):
        if name.isascii():  # the font has not all others
            pair_figure((grey, grey), (name, name), score=0.1, threshold=0.2).savefig(
                tmp_path / "a.png"
            )
    pair_figure((grey, grey), ("caf\udce9", "b"), score=0.1, threshold=0.2).savefig(
        tmp_path / "a.png"
    )
    run_data = Folder(root=str(workdir.parent / "classes"), size=8)
    contact_sheet(run_data.open("train")).savefig(tmp_path / "b.png")

    class Unknown:
        """As a data set of one's own may have them."""

        class_names = ("\x1b[31m", "caf\udce9", "a$\\x{$", "_b", "$")
        image_reader = None

        def __len__(self):
            return 5

        def __getitem__(self, index):
            label = np.full((8, 8), index, np.uint8)
            return {"image": np.zeros((8, 8, 3), np.uint8), "label": label}

        def record_name(self, index):
            return "a$\\x{$ \x1b caf\udce9"

    contact_sheet(Unknown()).savefig(tmp_path / "c.png")


def test_names_of_files_that_are_written():
    stems = unique_stems(
        ["caf\udce9.png", "caf\udce8.png", "\x1b[31m.png", "José.png", "x/Jose\u0301.png"]
    )
    assert stems == ["caf_xe9", "caf_xe8", "_x1b[31m", "José", "Jose\u0301_2"]


def test_a_terminal_of_another_encoding_ends_nothing(workdir):
    code = (
        "import sys; from jaxcv.cli.main import launch; "
        f"launch('predict', {str(workdir)!r}, {str(workdir.parent / 'files')!r}, '--devices', '1')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u732b \xe9.png  " in done.stdout
