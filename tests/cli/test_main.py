"""The command line, as a user meets it: output, exit status, one-line errors."""

import ast
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.cli.options import load_preset
from jaxcv.cli.presets import presets
from jaxcv.data import prepared
from jaxcv.train import Checkpoints, write_config

SHORT = ["--epochs", "None", "--steps", "6", "--eval-every", "3", "--devices", "1"]


def run(capsys, *words):
    """Gives (exit status, stdout, stderr)."""
    try:
        status = main(list(words))
    except SystemExit as exit:  # tyro ends the process itself
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits_lenet", "--workdir", str(workdir), *SHORT]) == 0
    return workdir


def test_train_writes_a_run_with_its_report(workdir):
    assert Checkpoints(workdir / "checkpoints").steps() == [3, 6]
    page = (workdir / "report.html").read_text()
    assert "<svg" in page
    assert "Most confident mistakes" in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_finished_run_is_left_as_it_is(workdir, capsys):
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    status, out, _ = run(capsys, "train", "digits_lenet", "--workdir", str(workdir), *SHORT)
    assert status == 0
    assert "accuracy" in out
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == before


def test_evaluate_prints_and_writes_the_same_numbers_as_training(workdir, capsys, tmp_path):
    output = tmp_path / "summary.json"
    status, out, _ = run(capsys, "evaluate", str(workdir), "--json", str(output), "--devices", "2")
    assert status == 0
    assert "accuracy" in out
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = next(row for row in rows if row["split"] == "test" and row["step"] == 6)
    assert json.loads(output.read_text())["test"]["accuracy"] == logged["accuracy"]


def test_predict_takes_files_folders_and_globs(workdir, capsys, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, size in enumerate([(8, 8), (40, 30), (9, 100)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    output = tmp_path / "predictions.jsonl"
    status, out, _ = run(
        capsys, "predict", str(workdir), str(folder), str(tmp_path / "*" / "1.png"),
        "--output", str(output),
    )  # fmt: skip
    assert status == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["file"].rsplit("/")[-1] for row in rows] == [
        "0.png",
        "1.png",
        "2.png",
        "broken.jpg",
    ]
    assert "error" in rows[3]
    for row in rows[:3]:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].get)
    assert "3 predictions, 1 unreadable" in out


def test_report_can_be_written_again_for_any_step(workdir, capsys):
    (workdir / "report.html").unlink()
    status, out, _ = run(capsys, "report", str(workdir), "--step", "3")
    assert status == 0
    assert out.strip() == str(workdir / "report.html")
    assert "Step 3 of 6" in (workdir / "report.html").read_text()


def test_the_best_checkpoint_is_named_and_chosen(workdir, capsys):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    accuracy = {row["step"]: row["accuracy"] for row in rows if row["split"] == "test"}
    best = max(accuracy, key=lambda step: (accuracy[step], -step))
    _, out, _ = run(capsys, "train", "digits_lenet", "--workdir", str(workdir), *SHORT)
    assert f"best: step {best}, test/accuracy {accuracy[best]:.6g} (--step best)" in out
    for which, step in (("best", best), ("last", 6), ("3", 3)):
        status, out, _ = run(capsys, "evaluate", str(workdir), "--step", which)
        assert status == 0
        assert f"step {step}, 360 test records" in out
        assert f"{accuracy[step]:.6g}" in out
    status, _, err = run(capsys, "evaluate", str(workdir), "--step", "5")
    assert status == 2
    assert "holds no checkpoint of step 5; it has 3, 6" in err
    _, _, err = run(capsys, "evaluate", str(workdir), "--step", "bets")
    assert "best" in err
    run(capsys, "report", str(workdir), "--step", "best")
    assert f"best by test/accuracy: step {best}" in (workdir / "report.html").read_text()


def test_list_names_presets_models_and_data_sets(capsys):
    status, out, _ = run(capsys, "list")
    assert status == 0
    for name in [*presets(), "ResNet", "TFDS", "Folder"]:
        assert name in out


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["train"]])
def test_help_imports_no_jax(words):
    code = f"import sys; from jaxcv.cli.main import main; main({words}); print(sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    imported = ast.literal_eval(result.stdout.splitlines()[-1])
    assert "jaxcv.cli.main" in imported
    assert not {"jax", "jaxlib", "flax", "numpy", "tyro"} & set(imported)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is Linux's")
@pytest.mark.parametrize("own", [None, "glibc.malloc.check=0"])
def test_the_process_starts_anew_once_with_large_pages_unless_it_has_settings_of_its_own(own):
    code = (
        "import os, sys; from jaxcv.convolution.large_pages import use_large_pages\n"
        "print('started', flush=True)\n"
        "use_large_pages(one_arena='--field' in sys.argv)\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.flags.utf8_mode, sys.argv[1:])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    if own is not None:
        environment["GLIBC_TUNABLES"] = own
    result = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, "a word", "--field"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    *starts, last = result.stdout.splitlines()
    assert len(starts) == (2 if own is None else 1)
    assert last.startswith("glibc.malloc.hugetlb=1:" if own is None else own)
    assert (":glibc.malloc.arena_max=1 " in last) == (own is None)
    assert last.endswith(" 1 ['a word', '--field']")


def test_importing_imports_neither_tensorflow_nor_torch():
    code = (
        "import sys, jaxcv.train, jaxcv.data, jaxcv.report, jaxcv.losses, jaxcv.cli.main\n"
        "print([name for name in ('tensorflow', 'torch') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


BAD = {
    "unknown command": (["trian"], "did you mean 'train'?"),
    "unknown preset": (["train", "digits_lenut", "--workdir", "x"], "did you mean 'digits_lenet'?"),
    "misspelt option": (
        ["train", "digits_lenet", "--workdir", "x", "--optimizer.lerning-rate", "1"],
        "--optimizer.learning-rate",
    ),
    "wrong type": (
        ["train", "digits_lenet", "--workdir", "x", "--batch-size", "many"],
        "many",
    ),
    "no work directory": (["train", "digits_lenet"], "--workdir"),
    "unknown data set": (
        ["train", "cifar10_lenet", "--workdir", "x", "--data.name", "cifar11"],
        "cifar10",
    ),
    "absent platform": (
        ["train", "digits_lenet", "--workdir", "x", "--platform", "tpu"],
        "JAX finds only cpu",
    ),
    "empty folder": (
        ["train", "face_cnn_64", "--workdir", "x", "--data.root", "empty"],
        "empty",
    ),
    "class count": (
        ["train", "digits_lenet", "--workdir", "x", "--task.num-classes", "7"],
        "10 classes",
    ),
    "image too small": (
        ["train", "digits_lenet", "--workdir", "x", "--model.padding", "VALID"],
        "16",
    ),
    "no run": (["evaluate", "nowhere"], "nowhere/config.json does not exist"),
    "no run to predict": (["predict", "nowhere", "x.png"], "nowhere/config.json does not exist"),
    "no image": (["predict", "untrained", "missing.png"], "missing.png names no image file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_status_2_and_says_what_to_do(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "untrained").mkdir()
    write_config(tmp_path / "untrained" / "config.json", load_preset("digits_lenet"))
    words, message = BAD[case]
    status, out, err = run(capsys, *words)
    assert status == 2
    assert message in out + err
    assert "Traceback" not in out + err
    assert not (tmp_path / "x").exists()


def test_traceback_on_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        main(["evaluate", "nowhere", "--traceback"])


def test_another_configuration_is_refused(workdir, capsys):
    before = (workdir / "config.json").read_bytes()
    status, _, err = run(
        capsys, "train", "digits_lenet", "--workdir", str(workdir), *SHORT, "--seed", "3"
    )
    assert status == 2
    assert "seed was 0 and is now 3" in err
    assert (workdir / "config.json").read_bytes() == before


def test_own_preset_with_own_model(capsys, tmp_path):
    (tmp_path / "my_preset.py").write_text(
        "import dataclasses\n"
        "import flax.linen as nn\n"
        "from jaxcv.configs import digits_lenet\n"
        "class MyNet(nn.Module):\n"
        "    num_classes: int = 10\n"
        "    @nn.compact\n"
        "    def __call__(self, images, *, train=False, mask=None):\n"
        "        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))\n"
        "def experiment():\n"
        "    return dataclasses.replace(digits_lenet.experiment(), model=MyNet())\n"
    )
    preset, workdir = str(tmp_path / "my_preset.py"), str(tmp_path / "run")
    assert run(capsys, "train", preset, "--workdir", workdir, *SHORT)[0] == 0
    assert run(capsys, "evaluate", workdir, "--preset", preset)[0] == 0


def start(workdir, *words, preset="digits_lenet"):
    """Starts a training process; what it says goes to workdir.log."""
    command = [sys.executable, "-m", "jaxcv", "train", preset, "--workdir", str(workdir)]
    with workdir.with_suffix(".log").open("a") as log:
        return subprocess.Popen([*command, "--devices", "1", *words], stdout=log, stderr=log)


def wait_until(condition, process, workdir, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, workdir.with_suffix(".log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_at_the_next_step_and_tells_by_its_status(tmp_path, number, status):
    workdir = tmp_path / "run"
    checkpoints = Checkpoints(workdir / "checkpoints")
    process = start(workdir, "--eval-every", "100000", "--checkpoint-every", "20")
    wait_until(checkpoints.steps, process, workdir)
    process.send_signal(number)
    assert process.wait(timeout=120) == status
    newest = checkpoints.steps()[-1]
    assert f"saved step {newest}" in workdir.with_suffix(".log").read_text()
    checkpoints.verify(newest)


KILLED_PRESET = """
import dataclasses
from jaxcv.configs import digits_lenet
from jaxcv.models import MLP
from jaxcv.train import Keep

def experiment():
    return dataclasses.replace(
        digits_lenet.experiment(), model=MLP(num_classes=10, dropout=0.1), epochs=None, steps=600,
        eval_every=100, checkpoint_every=8, log_every=4, keep=Keep(last=3, best="test/accuracy"),
    )
"""


@pytest.mark.slow
def test_sigkill_at_six_random_moments_changes_no_byte(tmp_path):
    preset = tmp_path / "killed_preset.py"
    preset.write_text(KILLED_PRESET)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole, preset=str(preset)).wait(timeout=300) == 0
    rng = np.random.default_rng(0)  # `scripts.soak` tries many more moments
    checkpoints = Checkpoints(broken / "checkpoints")
    for _ in range(6):
        before = checkpoints.steps()
        process = start(broken, preset=str(preset))
        wait_until(lambda b=before: checkpoints.steps() != b, process, broken)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait()
    newest = checkpoints.steps()[-1]
    assert newest < 600, "the run was over before the last blow"
    assert start(broken, preset=str(preset)).wait(timeout=300) == 0
    found, wanted = (Checkpoints(w / "checkpoints").verify(600)["leaves"] for w in (broken, whole))
    assert found == wanted
    assert checkpoints.steps() == Checkpoints(whole / "checkpoints").steps()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["cifar10_lenet", "cifar10_resnet18"])
def test_cifar_presets_run_on_another_data_set_by_its_name(preset, tmp_path, capsys):
    if "cifar10_jpeg75" not in prepared():
        pytest.skip("cifar10_jpeg75 is not prepared; set TFDS_DATA_DIR to where it is")
    status, out, _ = run(
        capsys, "train", preset, "--workdir", str(tmp_path / "run"), "--data.name", "cifar10_jpeg75",
        "--data.train-split", "train[:64]", "--data.test-split", "test[:40]", "--batch-size", "8",
        "--epochs", "None", "--steps", "2", "--devices", "1",
    )  # fmt: skip
    assert status == 0
    assert "airplane" in (tmp_path / "run/report.html").read_text()
    assert f"{'count':<28} 40" in out
