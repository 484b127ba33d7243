"""What a notebook says of its machine before anything else runs."""

import fnmatch

import jax
import pytest

from jaxcv import notebook


@pytest.mark.parametrize("attached", ["cpu", "gpu", "tpu"])
def test_warns_where_jax_runs_on_less_than_the_machine_has(monkeypatch, capsys, attached):
    monkeypatch.setattr(notebook, "attached_accelerator", lambda: attached)
    notebook.prepare_notebook()
    said = capsys.readouterr().out
    assert said.startswith(f"8 x cpu (cpu), jax {jax.__version__}\n")
    assert ("WARNING" in said) == (attached != "cpu")
    if attached != "cpu":
        assert f"this machine has a {attached.upper()}, but JAX runs on cpu" in said


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], "cpu"),
        (["/dev/nvidia0"], "gpu"),
        (["/dev/accel0"], "tpu"),
        (["/dev/vfio/0"], "tpu"),
    ],
)
def test_accelerator_is_found_by_its_device_file(monkeypatch, found, expected):
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)
    monkeypatch.setattr(notebook, "glob", lambda pattern: fnmatch.filter(found, pattern))
    assert notebook.attached_accelerator() == expected


def test_accelerator_is_found_by_the_variable_of_a_tpu_host(monkeypatch):
    monkeypatch.setattr(notebook, "glob", lambda pattern: [])
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5e-1")
    assert notebook.attached_accelerator() == "tpu"
