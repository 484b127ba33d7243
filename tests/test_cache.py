"""Compiled programs are run: nobody else may be able to put one where they are looked for."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxcv import cache

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX owners and modes")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's own home; the cache of the tests themselves is as before afterwards."""
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o700)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "home"
    for name, value in before.items():
        jax.config.update(name, value)


def used():
    cache.enable_compilation_cache()
    return jax.config.jax_compilation_cache_dir


def test_the_directory_is_made_for_the_user_alone(home, caplog):
    mask = os.umask(0)  # the least careful of all
    try:
        found = used()
    finally:
        os.umask(mask)
    assert found == str((home / ".cache/jaxcv/compiled").resolve())
    for folder in (Path(found), *Path(found).parents[:2]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert used() == found
    assert not caplog.records


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777, 0o722])
@pytest.mark.parametrize("where", ["compiled", "jaxcv", ".cache"])
def test_a_directory_that_others_can_write_is_not_used(home, caplog, where, mode):
    directory = home / ".cache/jaxcv/compiled"
    directory.mkdir(parents=True, mode=0o700)
    parts = {"compiled": directory, "jaxcv": directory.parent, ".cache": directory.parents[1]}
    for folder in parts.values():
        folder.chmod(0o700)
    parts[where].chmod(mode)
    found = used()
    if mode == 0o1777 and where != "compiled":  # as /tmp is: nobody can move what is ours
        assert found == str(directory.resolve())
        assert not caplog.records
    else:
        assert found is None
        (line,) = caplog.messages
        assert f"{parts[where].resolve()} can be written by others (mode {mode:o})" in line
        assert line.startswith("compiled programs are not kept for the next run: ")
    assert stat.S_IMODE(parts[where].stat().st_mode) == mode  # left as it was


def test_a_link_is_followed_to_where_it_leads(home, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (home / ".cache").symlink_to(elsewhere)
    assert used() is None
    assert f"{elsewhere.resolve()} can be written by others" in caplog.text
    elsewhere.chmod(0o755)
    assert used() == str((elsewhere / "jaxcv/compiled").resolve())


def test_a_directory_of_somebody_else_is_not_used(home, monkeypatch, caplog):
    (home / ".cache/jaxcv/compiled").mkdir(parents=True)
    mine = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: mine + 1)
    assert used() is None
    assert f"compiled belongs to user {mine}, not to {mine + 1}, who runs this" in caplog.text


@pytest.mark.parametrize("chosen", ["", "cache", "./cache"])
def test_a_relative_cache_home_is_none(home, monkeypatch, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    monkeypatch.chdir(home)
    assert used() == str((home / ".cache/jaxcv/compiled").resolve())


def test_a_home_that_cannot_be_written_is_no_reason_not_to_train(home, monkeypatch, caplog):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    assert used() is None
    assert not caplog.records


def test_who_sets_the_variable_is_taken_at_their_word(home, tmp_path, monkeypatch, caplog):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for value, warned in ((str(shared), True), ("", False), ("gs://bucket/cache", False)):
        caplog.clear()
        monkeypatch.setenv(cache.VARIABLE, value)
        assert used() is None  # JAX itself reads the variable when it is imported
        assert ("can be written by others" in caplog.text) == warned
    shared.chmod(0o700)
    monkeypatch.setenv(cache.VARIABLE, str(shared))
    caplog.clear()
    assert used() is None
    assert not caplog.records


@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_a_command_takes_nothing_from_an_open_directory(tmp_path, mode):
    """The command itself, where the cache lies under a home of its own."""
    directory = tmp_path / "jaxcv/compiled"
    directory.mkdir(parents=True)
    directory.chmod(mode)
    environment = {k: v for k, v in os.environ.items() if k != cache.VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(tmp_path)}
    program = (
        "from jaxcv.cache import enable_compilation_cache as enable; enable()\n"
        "import jax; print(jax.config.jax_compilation_cache_dir)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    if mode == 0o700:
        assert done.stdout.strip() == str(directory.resolve())
        assert not done.stderr
    else:
        assert done.stdout.strip() == "None"
        assert done.stderr.count("\n") == 1
        assert f"chmod go-w {directory.resolve()}" in done.stderr
