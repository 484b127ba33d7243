"""The notebooks: made from their scripts, clean, and every cell of them runs and holds."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jupytext
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.metrics import mutual_info_score

ROOT = Path(__file__).parents[1]
COLAB = ROOT / "colab"
NAMES = sorted(path.stem for path in COLAB.glob("*.py"))


def read(name):
    return nbformat.read(COLAB / f"{name}.ipynb", as_version=4)


def execute(name, workdir, monkeypatch, wanted):
    """Runs a notebook on two CPU devices; gives it, and the values of the expressions wanted."""
    for variable, value in {
        "JAXCV_FAST": "1",
        "JAX_NUM_CPU_DEVICES": "2",
        "JUPYTER_RUNTIME_DIR": str(workdir / "jupyter"),
        "IPYTHONDIR": str(workdir / "ipython"),
    }.items():
        monkeypatch.setenv(variable, value)
    notebook = read(name)
    values = ", ".join(f"{key!r}: {expression}" for key, expression in wanted.items())
    notebook.cells.append(nbformat.v4.new_code_cell(f"print(json.dumps({{{values}}}))"))
    notebook.cells[-1].source = "import json\n" + notebook.cells[-1].source
    resources = {"metadata": {"path": str(workdir)}}
    # ipykernel offers this interpreter under the name python3, installed there or not.
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return notebook, json.loads(notebook.cells[-1].outputs[0].text)


def printed(notebook, stream="stdout"):
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == stream)


def picture_count(notebook):
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in o.get("data", {}) for o in outputs)


def test_there_are_notebooks():
    assert NAMES == [
        "cross_entropy",
        "detection",
        "face_recognition",
        "segmentation",
        "train_classifier",
    ]
    assert sorted(path.stem for path in COLAB.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_what_its_script_makes(name):
    made, stored = jupytext.read(COLAB / f"{name}.py"), read(name)
    # jupytext --update --to ipynb colab/NAME.py makes them agree.
    assert [(c.cell_type, c.source) for c in stored.cells] == [
        (c.cell_type, c.source) for c in made.cells
    ]
    assert stored.metadata.kernelspec == made.metadata.kernelspec


@pytest.mark.parametrize("name", NAMES)
def test_notebook_stores_no_output_and_no_path_of_a_machine(name):
    for cell in read(name).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    text = (COLAB / f"{name}.ipynb").read_text() + (COLAB / f"{name}.py").read_text()
    assert str(COLAB.parent) not in text
    assert not re.search(r"/(home|root|tmp|Users|work|mnt|content)/|[A-Z]:.Users", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_code_cell_is_python_and_the_badge_opens_this_notebook(name):
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source.replace("%matplotlib inline\n", ""), name, "exec")
    assert f"/blob/main/colab/{name}.ipynb)" in notebook.cells[0].source


def set_up(name):
    """The first code cell of a notebook."""
    return next(cell.source for cell in read(name).cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_have_one_set_up(name):
    assert set_up(name) == set_up("train_classifier")


def test_set_up_installs_nothing_outside_colab(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    exec(set_up("train_classifier"), {})
    assert f"8 x cpu (cpu), jax {jax.__version__}" in capsys.readouterr().out


def run(*words, folder):
    """Runs a command as a runtime would, which knows nothing of this checkout; gives what it prints."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This checkout as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip_wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", ".")
    run(*pip_wheel, str(ROOT), folder=folder)
    return str(next(folder.glob("*.whl")))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 13), reason="Colab has Python 3.13: make test-colab"
)
@pytest.mark.parametrize("kind", ["tpu", "gpu"])
def test_set_up_adds_jaxcv_to_a_runtime_and_exchanges_nothing(kind, wheel, tmp_path):
    python = str(tmp_path / "runtime/bin/python")
    run(sys.executable, "-m", "venv", "runtime", folder=tmp_path)
    listed = str(ROOT / f"tests/colab-{kind}.txt")
    pip_install = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps")
    run(*pip_install, "--requirement", listed, folder=tmp_path)

    def versions():
        return json.loads(run(python, "-m", "pip", "list", "--format=json", folder=tmp_path))

    before = {package["name"]: package["version"] for package in versions()}
    kept = {"jax", "jaxlib", "flax", "numpy", "optax", "orbax-checkpoint", "pillow"}
    assert kept < set(before)

    cell = set_up("train_classifier")
    assert cell.count("git+https://github.com/jaxcv/jaxcv") == 1
    # JAX imports `output` where it finds google.colab.
    colab = "types.SimpleNamespace(output=None)"
    pretended = f"import sys, types\nsys.modules['google.colab'] = {colab}\n"
    cell = pretended + cell.replace("git+https://github.com/jaxcv/jaxcv", wheel)
    assert "1 x cpu (cpu), jax 0.7.2" in run(python, "-c", cell, folder=tmp_path)
    after = {package["name"]: package["version"] for package in versions()}
    assert {name: after[name] for name in before} == before
    assert {"jaxcv", "tyro", "chex"} <= set(after)

    # What the cell added is all that a training run lacked.
    short = ("--workdir", "run", "--epochs", "None", "--steps", "4", "--model.dtype", "bfloat16")
    trained = run(python, "-m", "jaxcv", "train", "digits_lenet", *short, folder=tmp_path)
    assert "report: run/report.html" in trained


@pytest.mark.slow
def test_train_classifier_runs(tmp_path, monkeypatch):
    wanted = {
        "devices": "jax.device_count()",
        "loss": "loss",
        "loss_by_hand": "float(loss_by_hand)",
        "steps": "[previous, last]",
        "same_bytes": "same_bytes",
        "count": "summary['count']",
        "accuracy": "summary['accuracy']",
        "wrong": "len(wrong)",
        "report": "str(report)",
        "parity": "parity_results['test']['accuracy']",
    }
    notebook, values = execute("train_classifier", tmp_path, monkeypatch, wanted)
    assert values["devices"] == 2
    assert "2 x cpu (cpu)" in printed(notebook)
    assert values["loss"] == pytest.approx(values["loss_by_hand"], rel=1e-5)
    assert values["steps"][0] < values["steps"][1] == 90  # 4 epochs of 1,437 by 64
    assert values["same_bytes"]
    assert values["count"] == 360
    assert values["accuracy"] > 0.7
    assert values["wrong"] == round(360 * (1 - values["accuracy"]))
    assert values["parity"] > 0.6
    assert "</html>" in (tmp_path / values["report"]).read_text()
    assert picture_count(notebook) == 6
    assert "learning_rat'" in printed(notebook)
    assert "the data have 2 classes (even, odd" in printed(notebook)
    assert "Warning" not in printed(notebook, "stderr")


@pytest.mark.slow
def test_cross_entropy_runs_and_agrees_with_scikit_learn(tmp_path, monkeypatch):
    wanted = {
        "counts": "counts.tolist()",
        "information": "information",
        "accuracies": "[float(a) for a in accuracies]",
        "losses": "[float(a) for a in losses]",
    }
    notebook, values = execute("cross_entropy", tmp_path, monkeypatch, wanted)
    expected = mutual_info_score(None, None, contingency=np.array(values["counts"]))
    assert values["information"] == pytest.approx(expected, abs=1e-6)
    assert values["accuracies"] == [0.25, 0.75]
    assert values["losses"][0] == pytest.approx(-(3 * math.log(0.45) + math.log(0.9)) / 4)
    assert values["losses"][1] == pytest.approx(-(3 * math.log(0.55) + math.log(0.01)) / 4)
    assert picture_count(notebook) == 9
    assert printed(notebook, "stderr") == ""
    assert sum("assert" in cell.source or "close(" in cell.source for cell in notebook.cells) >= 18


@pytest.mark.slow
def test_segmentation_runs(tmp_path, monkeypatch):
    wanted = {
        "devices": "jax.device_count()",
        "camvid": "CAMVID_HERE",
        "ignored": "float(loss)",
        "count": "summary['count']",
        "mean_iou": "summary['mean_iou']",
        "accuracy": "summary['pixel_accuracy']",
        "majority": "float(majority)",
        "accuracies": "accuracies",
        "index_map": "[list(index_map.shape), str(index_map.dtype), int(index_map.max())]",
        "report": "str(report)",
    }
    notebook, values = execute("segmentation", tmp_path, monkeypatch, wanted)
    assert values["devices"] == 2
    assert not values["camvid"]  # What it draws itself, so that the numbers below hold anywhere.
    assert values["ignored"] == 0
    assert values["count"] == 16
    assert values["accuracy"] > values["majority"] + 0.05
    assert values["mean_iou"] > 0.4
    # The panorama holds the first 6 test images: about as right as on single ones, whatever the way.
    assert list(values["accuracies"]) == ["whole", "sliding window", "window, mirrored too"]
    assert min(values["accuracies"].values()) > values["accuracy"] - 0.15
    assert values["index_map"][:2] == [[60, 80], "uint8"]
    assert values["index_map"][2] < 3
    assert "Worst images" in (tmp_path / values["report"]).read_text()
    assert picture_count(notebook) == 7
    assert "masks/0.png: is a colour mask" in printed(notebook)
    assert "Warning" not in printed(notebook, "stderr")


@pytest.mark.slow
def test_detection_runs(tmp_path, monkeypatch):
    wanted = {
        "devices": "jax.device_count()",
        "bccd": "BCCD_HERE",
        "kept": "kept",
        "count": "summary['count']",
        "average_precision_50": "summary['average_precision_50']",
        "loss": "float(values[0])",
        "table": "{name: len(rows) for name, rows in table.items()}",
        "again": "int((reread['classes'] >= 0).sum())",
        "report": "str(report)",
    }
    notebook, values = execute("detection", tmp_path, monkeypatch, wanted)
    assert values["devices"] == 2
    assert not values["bccd"]  # What it draws itself, so that the numbers below hold anywhere.
    assert values["kept"] == [0, 2, 3]
    assert values["count"] == 48
    assert values["average_precision_50"] > 0.6
    assert 0 < values["loss"] < 100
    assert values["table"]["images"] == 1
    assert values["table"]["annotations"] == values["again"] > 0
    assert "Worst images" in (tmp_path / values["report"]).read_text()
    assert picture_count(notebook) == 5
    assert "Warning" not in printed(notebook, "stderr")


@pytest.mark.slow
def test_face_recognition_runs_and_beats_pixels(tmp_path, monkeypatch):
    wanted = {
        "counts": "[len(train_source), len(test_source)]",
        "errors": "[float(equal_error_rate(c)) for c in (curve, pixel_curve)]",
        "stored": "float(summary['equal_error_rate'])",
        "rank_1": "float(rank_1)",
        "removed": "[removed, traces]",
        "refused": "refused",
        "alike": "[float(own.mean()), float(others.mean())]",
        "report": "str(report)",
    }
    notebook, values = execute("face_recognition", tmp_path, monkeypatch, wanted)
    assert values["counts"] == [180, 60]
    assert values["errors"][0] < values["errors"][1]
    assert values["errors"][0] == pytest.approx(values["stored"], abs=0.005)
    assert values["rank_1"] > 0.7
    assert values["removed"] == [5, 0]
    assert "made by another model" in values["refused"]
    assert values["alike"][0] > values["alike"][1] + 0.1
    assert "Hardest pairs" in (tmp_path / values["report"]).read_text()
    assert picture_count(notebook) == 5
    assert "Warning" not in printed(notebook, "stderr")
