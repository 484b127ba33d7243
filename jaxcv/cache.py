"""Where compiled programs are kept for the next run, in directories that nobody else can write.

What lies there is run as machine code: whoever can write it runs what they like as this user. So a
directory is used only if it and all above it are safe, as OpenSSH asks of a home: owned by this user
(or, above it, by root), and not writable by group or others. Above it a directory that anybody may
write, such as /tmp, is safe if its sticky bit keeps others from moving what is not theirs. Links are
followed first. On systems without POSIX owners nothing is asked.
"""

import logging
import os
import stat
from pathlib import Path

import jax

logger = logging.getLogger(__name__)

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""JAX's own variable for the directory of compiled programs."""


def cache_directory(name: str) -> Path:
    """A directory in the user's cache, made if need be, that only this user can write.

    It lies in `$XDG_CACHE_HOME` if that is an absolute path, else in `~/.cache`.

    Raises:
        OSError: where it cannot be made, or others could write it.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = chosen if chosen.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:  # nobody knows where home is
        raise FileNotFoundError(str(error)) from None
    directory = (base / "jaxcv" / name).resolve()
    for folder in (*reversed(directory.parents), directory):
        folder.mkdir(exist_ok=True, mode=0o700)
    danger = why_unsafe(directory)
    if danger is not None:
        raise PermissionError(danger)
    return directory


def why_unsafe(directory: Path) -> str | None:
    """How somebody else could write an existing directory, in one line; None where nobody could."""
    if not hasattr(os, "geteuid"):
        return None
    directory = directory.resolve()
    mine = os.geteuid()
    for folder in (directory, *directory.parents):
        status = folder.stat()
        if status.st_uid != mine and (status.st_uid != 0 or folder == directory):
            return f"{folder} belongs to user {status.st_uid}, not to {mine}, who runs this"
        sticky = folder != directory and status.st_mode & stat.S_ISVTX
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            mode = stat.S_IMODE(status.st_mode)
            return f"{folder} can be written by others (mode {mode:o}); say chmod go-w {folder}"
    return None


def enable_compilation_cache() -> None:
    """Keeps compiled programs for the next run, in a directory that only this user can write.

    Where the user's cache is none such, nothing is kept or taken from it, and a line says why.

    JAX_COMPILATION_CACHE_DIR chooses another directory, or a bucket; empty, it turns the cache off.
    Whoever sets it is taken at their word, since several may mean to share one: a directory that
    others can write is used, and a line says so.
    """
    if VARIABLE in os.environ:
        _warn_of(os.environ[VARIABLE])
        return
    try:
        directory = cache_directory("compiled")
    except PermissionError as error:
        logger.warning("compiled programs are not kept for the next run: %s", error)
        return
    except OSError:
        return  # A home that cannot be written to is no reason not to train.
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _warn_of(chosen: str) -> None:
    if not chosen or not Path(chosen).is_dir():
        return  # off, a bucket, or still to be made
    danger = why_unsafe(Path(chosen))
    if danger is not None:
        logger.warning("%s says where compiled programs are run from: %s", VARIABLE, danger)
