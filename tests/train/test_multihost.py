"""Two processes of two devices each train what one process of four does."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcv.train import Runtime, open_workdir, train
from jaxcv.train.logging import read_rows

SCRIPT = Path(__file__).parents[2] / "scripts" / "multihost.py"
OPTIONS = ["--epochs", "None", "--steps", "9", "--eval-every", "6", "--batch-size", "30"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def outputs_of(processes):
    """What each says until its end; none outlives the test."""
    try:
        return [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def run_two_processes(workdir, *options, second=(), status=0):
    """The outputs of two processes with the same options, and the second with `second` besides."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    port, processes = free_port(), []
    for index in range(2):
        command = [
            sys.executable, str(SCRIPT), "--coordinator", f"127.0.0.1:{port}", "--processes", "2",
            "--process", str(index), "--", "train", "digits_lenet", "--workdir", str(workdir),
            *OPTIONS, *options, *(second if index else ()),
        ]  # fmt: skip
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [status] * 2, outputs
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--resident", "False"], ["--strategy", "pmap"]], ids=str)
def test_two_processes_train_what_one_does(tmp_path, options):
    outputs = run_two_processes(tmp_path / "two", *options)
    assert "accuracy" in outputs[0]
    assert "accuracy" not in outputs[1]
    two_run, two = open_workdir(tmp_path / "two", Runtime(devices=1))
    train(two_run.experiment, tmp_path / "one", Runtime(devices=4))
    _, one = open_workdir(tmp_path / "one", Runtime(devices=1))
    for found, wanted in zip(
        *(map(np.asarray, _leaves(state.params)) for state in (two, one)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    found, wanted = (
        [r for r in read_rows(tmp_path / name / "metrics.jsonl") if r["split"] == "test"]
        for name in ("two", "one")
    )
    assert [r["step"] for r in found] == [6, 9]
    assert [r["count"] for r in found] == [r["count"] for r in wanted]
    assert [r["accuracy"] for r in found] == pytest.approx(
        [r["accuracy"] for r in wanted], abs=0.01
    )
    assert json.loads((tmp_path / "two/config.json").read_text())["batch_size"] == 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            ["--seed", "7", "--optimizer.learning-rate", "0.3"],
            ["seed is 0 on process 0 and 7 on process 1", "learning_rate is 0.05 .* and 0.3 on"],
        ),
        (
            ["--steps-per-dispatch", "2"],
            ["runtime.steps_per_dispatch is null .* and 2 on process 1"],
        ),
        (["--batch-size", "7"], ["batch_size is 30 on process 0 and 7 on process 1"]),
    ],
    ids=["settings", "runtime", "what one of them cannot have"],
)
def test_processes_that_disagree_all_stop_before_the_first_step(tmp_path, second, said):
    outputs = run_two_processes(tmp_path / "run", second=second, status=2)
    for output in outputs:
        for each in said:
            assert re.search(each, output), output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_with_other_data_all_stop_before_the_first_step(tmp_path):
    """Each has a folder of its own under the same relative path, as hosts have disks of their own."""
    for host in range(2):
        for name in "ab":
            folder = tmp_path / f"host{host}" / "data" / name
            folder.mkdir(parents=True)
            for i in range(4 + host * (name == "b")):
                Image.new("RGB", (4, 4)).save(folder / f"{i}.png")
    program = tmp_path / "own.py"
    program.write_text(OWN_EXPERIMENT)
    port, processes = free_port(), []
    for host in range(2):
        command = [
            sys.executable, str(SCRIPT), "--coordinator", f"127.0.0.1:{port}", "--processes", "2",
            "--process", str(host), "--", "train", str(program), "--workdir", str(tmp_path / "run"),
        ]  # fmt: skip
        processes.append(
            subprocess.Popen(
                command,
                cwd=tmp_path / f"host{host}",
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for output, process in zip(outputs_of(processes), processes, strict=True):
        assert process.returncode == 2, output
        assert re.search(r"train\.count is 6 on process 0 and 7 on process 1", output), output


OWN_EXPERIMENT = """
from jaxcv.data import Folder
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import Experiment, Optimizer


def experiment():
    return Experiment(
        data=Folder(root="data"),
        model=MLP(num_classes=2, hidden=()),
        task=Classification(num_classes=2),
        optimizer=Optimizer(learning_rate=0.1),
        batch_size=2,
        steps=2,
    )
"""


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)
