"""The manifest of a checkpoint: what lies in it, digested, and what is known about it."""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from jaxcv.atomic import TEMPORARY, write_text

FILE = "manifest.json"
# A leaf takes some 200 bytes.
_MOST_BYTES = 64 * 2**20
# What file managers, network file systems and synchronising programs put into any directory they see.
_FOREIGN_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".directory"})
_FOREIGN_PREFIXES = ("._", ".nfs", ".fuse_hidden", ".sync", ".~", TEMPORARY)

# A bad sector, a link to itself: no other attempt will do better.
_UNREADABLE = (errno.EIO, errno.ELOOP)

Body = dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint that does not fit the run, or is damaged. The message names the file."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of the files below a directory, by their paths in it; the manifest left out."""
    return {name: file_digest(directory / name) for name in sorted(_file_names(directory))}


def write_manifest(directory: Path, body: Body) -> None:
    """Writes the manifest of a checkpoint, signed with its own digest; the old one is replaced at once."""
    text = json.dumps({"digest": _body_digest(body), **body}, indent=1)
    write_text(directory / FILE, text)


def read_manifest(directory: Path, step: int) -> Body:
    """Reads a manifest, and verifies its own digest, its form and its step.

    Raises:
        CheckpointError: where it is missing, none, or changed since it was written.
    """
    path = directory / FILE
    body = _decoded(path)
    digest = body.pop("digest", None)
    if digest != _body_digest(body):
        raise CheckpointError(f"{path} is damaged: its digest differs")
    if not _well_formed(body):
        raise CheckpointError(f"{path} is damaged: no valid manifest")
    if body["step"] != step:
        raise CheckpointError(
            f"{path} is damaged: it belongs to the checkpoint of step {body['step']}, not {step}"
        )
    return body


def verify_files(directory: Path, body: Body) -> None:
    """Compares every file of a checkpoint with its digest in the manifest.

    Raises:
        CheckpointError: naming the first file that is missing, changed or not in the manifest.
    """
    for name, digest in body["files"].items():
        path = directory / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
        try:
            found = file_digest(path)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            raise CheckpointError(f"{path} is damaged: {error.strerror}") from None
        if found != digest:
            raise CheckpointError(f"{path} is damaged: its digest differs")
    for name in sorted(_file_names(directory) - set(body["files"])):
        raise CheckpointError(
            f"{directory} is damaged: {name} in it is not part of the checkpoint; delete that file, if "
            "you put it there"
        )


def _file_names(directory: Path) -> set[str]:
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path != directory / FILE
        and not path.is_dir()
        and path.name not in _FOREIGN_NAMES
        and not path.name.startswith(_FOREIGN_PREFIXES)
    }


def _decoded(path: Path) -> Body:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            raise ValueError
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} is damaged: no valid manifest") from None
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        raise CheckpointError(f"{path} is damaged: {error.strerror}") from None
    if not isinstance(body, dict):
        raise CheckpointError(f"{path} is damaged: no valid manifest")
    return body


def _body_digest(body: Body) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _well_formed(body: Body) -> bool:
    """Whether the keys that are read from a manifest are there, with values of their types."""
    leaves: Any = body.get("leaves")
    return (
        type(body.get("step")) is int
        and _is_table(body.get("metrics"), int | float)
        and _is_table(body.get("files"), str)
        and all(_is_inside(name) for name in body["files"])
        and _is_table(leaves, dict)
        and all(
            isinstance(leaf.get("shape"), list)
            and all(type(size) is int for size in leaf["shape"])
            and isinstance(leaf.get("dtype"), str)
            and isinstance(leaf.get("sha256"), str)
            for leaf in leaves.values()
        )
        and isinstance(body.get("run_digest"), str | None)
        and type(body.get("evaluated", True)) is bool
    )


def _is_table(value: Any, kind: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts
