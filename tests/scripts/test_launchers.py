"""The launchers in scripts/ run the command of their name."""

import pathlib
import runpy

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_launcher_runs_its_command(monkeypatch, command):
    launched = []
    monkeypatch.setattr("jaxcv.cli.main.launch", lambda *words: launched.append(words))
    runpy.run_path(str(SCRIPTS / f"{command}.py"), run_name="__main__")
    assert launched == [(command,)]
