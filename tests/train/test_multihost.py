"""Two processes of two devices each train what one process of four does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcv.train import Runtime, open_workdir, train
from jaxcv.train.logging import read_rows

SCRIPT = Path(__file__).parents[2] / "scripts" / "multihost.py"
OPTIONS = ["--epochs", "None", "--steps", "9", "--eval-every", "6", "--batch-size", "30"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_two_processes(workdir, *options):
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
            *OPTIONS, *options,
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
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
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


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)
