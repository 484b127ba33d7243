"""The notebooks: made from their scripts, clean, and every cell of them runs and holds."""

import importlib.metadata
import importlib.util
import json
import math
import re
import subprocess
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.metrics import mutual_info_score

COLAB = Path(__file__).parents[1] / "colab"
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


@pytest.fixture
def pretended_colab(monkeypatch):
    """Makes this Python look like a Colab runtime without tyro; gives pip's calls, not made."""
    calls, find_spec, version = [], importlib.util.find_spec, importlib.metadata.version

    def run(words, check):
        constraints = ""
        if "--constraint" in words:
            constraints = Path(words[words.index("--constraint") + 1]).read_text()
        calls.append((words[5:], constraints.split()))

    def lacking_tyro(name):
        if name == "tyro":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"jax": "0.7.2", "grain": "0.1"}.get(name) or version(name)

    def colab_found(name, *arguments):
        return "found" if name.startswith("google") else find_spec(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", colab_found)
    monkeypatch.setattr(importlib.metadata, "version", lacking_tyro)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5e-1")
    # The cell sets what is unset.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    return calls


def test_setup_adds_what_is_missing_and_never_touches_jax(pretended_colab, capsys):
    code = [cell.source for cell in read("train_classifier").cells if cell.cell_type == "code"]
    exec(code[0], {})
    own, others = pretended_colab
    assert own[0] == ["--no-deps", "git+https://github.com/jaxcv/jaxcv"]
    assert [re.match("[a-z]+", word)[0] for word in others[0][2:]] == ["grain", "tyro"]
    assert "jax==0.7.2" in others[1]
    assert f"jaxlib=={importlib.metadata.version('jaxlib')}" in others[1]
    said = capsys.readouterr().out
    assert "this runtime has jax 0.7.2" in said
    assert "this runtime has a TPU, but JAX runs on cpu" in said


@pytest.mark.slow
def test_train_classifier_runs(tmp_path, monkeypatch):
    wanted = {
        "devices": "device_count",
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
        "devices": "device_count",
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
        "devices": "device_count",
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
