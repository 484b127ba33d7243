"""A gallery on disk: a directory whose one small header names the files that count.

    gallery.json                             the header: version, model, names and digests of the files
    gallery-00000007.embeddings.safetensors  [N, E] float32 unit vectors
    gallery-00000007.entries.json            ids, subjects and sources of the N rows

Every change writes both files anew under the next generation's name, then replaces the header, which
is the moment at which the change counts, then deletes the files of the generation before. Whatever
kills the process, the header names whole files; what a killed process left over is deleted when the
gallery is next opened. A removed subject is therefore in no file of the directory. That says nothing
of the medium below: SSDs and copying file systems keep old blocks for a while, backups keep them for
long. Where that matters, encrypt, and destroy the key with the gallery.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxcv.atomic import TEMPORARY, sync, write_bytes
from jaxcv.faces.gallery.contract import Entry, GalleryError, check_subject
from jaxcv.faces.gallery.encryption import DecryptionError, Key, digest
from jaxcv.faces.gallery.header import (
    HEADER,
    KINDS,
    check_use,
    complete,
    context,
    file_name,
    make_header,
    parse_header,
)

logger = logging.getLogger(__name__)

_EMBEDDINGS, _ENTRIES = KINDS
_GENERATION = re.compile(rf"gallery-\d{{8,}}\.({'|'.join(map(re.escape, KINDS))})")
# Cut short by a kill; the second is what earlier versions called it.
_UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}.*|{re.escape(f'.{HEADER}.writing')}")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a gallery holds.

    Attributes:
        embeddings: [N, E] float32 unit vectors; never shown.
        entries: N of them, in rising order of their ids.
        next_id: the id of the next entry; those of removed ones are not given again.
    """

    embeddings: np.ndarray = field(repr=False)
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    next_id: int = 0


class Storage:
    """The directory of one gallery. It is made by the first change, not by reading.

    Args:
        directory: holds the gallery and, best, nothing else.
        embedding_size: E of the model in use.
        model_digest: of the model in use; embeddings of different models cannot be compared.
        key: encrypts the files; None leaves them plain.
    """

    def __init__(
        self, directory: Path, *, embedding_size: int, model_digest: str, key: Key | None
    ) -> None:
        self.directory = directory
        self.embedding_size = embedding_size
        self.model_digest = model_digest
        self.key = key
        self._seen: str | None = None  # the header's digest when it was last read or written

    def read(self) -> Contents | None:
        """Reads and verifies the gallery, and deletes what a killed process left over.

        Returns:
            What it holds, or None where there is no gallery yet.

        Raises:
            GalleryError: where it is of another model, damaged, or not to be decrypted.
        """
        if not self.directory.exists():
            return None
        with self._locked():
            header = self._header()
            if header is not None:
                check_use(
                    self.directory / HEADER,
                    header,
                    embedding_size=self.embedding_size,
                    model_digest=self.model_digest,
                    key=self.key,
                )
            try:
                self._sweep(header)
            except PermissionError as error:
                logger.warning("%s is left over and cannot be deleted", error.filename)
            contents = None if header is None else self._contents(header)
            self._seen = None if header is None else header["digest"]
            return contents

    def write(self, contents: Contents, *, key: Key | None) -> None:
        """Makes `contents` the gallery. The files of the generation before stay until `sweep`.

        Args:
            contents: what to write.
            key: to encrypt with, from now on.

        Raises:
            GalleryError: where another process has changed the gallery since it was read.
            OSError: where it cannot be written. In both cases the gallery is as before.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            header = self._header()
            if (None if header is None else header["digest"]) != self._seen:
                raise GalleryError(
                    f"{self.directory / HEADER} was changed by another process since this one read "
                    "it; open the gallery again"
                )
            try:
                if header is None:
                    # From here on files without a header are damage, not a first change cut short.
                    empty = Contents(embeddings=contents.embeddings[:0])
                    self._write_generation(0, empty, key)
                self._write_generation(header["generation"] + 1 if header else 1, contents, key)
            except Exception:
                with contextlib.suppress(OSError, GalleryError):
                    self._sweep(self._header())
                raise
        self.key = key

    def sweep(self) -> None:
        """Deletes the files that do not count any more.

        Raises:
            OSError: where one cannot be deleted.
        """
        with self._locked():
            self._sweep(self._header())

    def _write_generation(self, generation: int, contents: Contents, key: Key | None) -> None:
        header = make_header(
            generation=generation,
            entries=len(contents.entries),
            next_id=contents.next_id,
            embedding_size=self.embedding_size,
            model_digest=self.model_digest,
            key=key,
        )
        files = {}
        for kind in KINDS if contents.entries else ():
            data = _table(contents) if kind == _ENTRIES else _tensors(contents)
            name = file_name(generation, kind)
            if key is not None:
                data = key.encrypt(data, context(header, name))
            write_bytes(self.directory / name, data, mode=0o600)
            files[name] = digest(data)
        header = complete(header, files)
        data = json.dumps(header, indent=1).encode() + b"\n"
        write_bytes(self.directory / HEADER, data, mode=0o600)
        self._seen = header["digest"]

    def _header(self) -> dict[str, Any] | None:
        path = self.directory / HEADER
        try:
            return parse_header(path, path.read_bytes())
        except FileNotFoundError:
            orphans = sorted(p.name for p in self._files(_GENERATION))
        if orphans:
            raise GalleryError(f"{path} is missing, but {orphans[0]} is there")
        return None

    def _contents(self, header: dict[str, Any]) -> Contents:
        shape = (header["entries"], self.embedding_size)
        if not header["files"]:
            return Contents(embeddings=np.zeros(shape, np.float32), next_id=header["next_id"])
        path, data = self._file(header, _EMBEDDINGS)
        try:
            embeddings = load(data)["embeddings"]
        except (SafetensorError, KeyError):
            raise GalleryError(f"{path} is damaged: it holds no embeddings") from None
        if embeddings.shape != shape or embeddings.dtype != np.float32:
            raise GalleryError(
                f"{path} is damaged: it holds {embeddings.dtype}{list(embeddings.shape)}, but "
                f"{HEADER} says float32{list(shape)}"
            )
        entries = _entries(*self._file(header, _ENTRIES), header)
        return Contents(embeddings=embeddings, entries=entries, next_id=header["next_id"])

    def _file(self, header: dict[str, Any], kind: str) -> tuple[Path, bytes]:
        name = file_name(header["generation"], kind)
        path = self.directory / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise GalleryError(f"{path} is missing") from None
        if digest(data) != header["files"][name]:
            raise GalleryError(f"{path} is damaged: its digest differs from that in {HEADER}")
        if self.key is None:
            return path, data
        try:
            return path, self.key.decrypt(data, context(header, name))
        except DecryptionError as error:
            raise GalleryError(f"{path} cannot be decrypted: {error}") from None

    def _files(self, pattern: re.Pattern[str]) -> list[Path]:
        return [path for path in self.directory.iterdir() if pattern.fullmatch(path.name)]

    def _sweep(self, header: dict[str, Any] | None) -> None:
        kept = set() if header is None else set(header["files"])
        leftovers = [path for path in self._files(_GENERATION) if path.name not in kept]
        leftovers += self._files(_UNFINISHED)
        for path in leftovers:
            path.unlink()
        if leftovers:
            sync(self.directory)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, where the system has POSIX locks; they end with the process."""
        if not self.directory.is_dir():
            raise GalleryError(f"{self.directory} is no directory, so no gallery")
        try:
            import fcntl
        except ImportError:
            yield
            return
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _tensors(contents: Contents) -> bytes:
    return save({"embeddings": np.ascontiguousarray(contents.embeddings)})


def _table(contents: Contents) -> bytes:
    table = {
        "ids": [entry.id for entry in contents.entries],
        "subjects": [entry.subject for entry in contents.entries],
        "sources": [entry.source for entry in contents.entries],
    }
    return json.dumps(table, ensure_ascii=False).encode()


def _entries(path: Path, data: bytes, header: dict[str, Any]) -> tuple[Entry, ...]:
    try:
        table = json.loads(data)
        rows = list(zip(table["ids"], table["subjects"], table["sources"], strict=True))
    except (ValueError, KeyError, TypeError):
        raise GalleryError(f"{path} is damaged: it is no table of entries") from None
    if len(rows) != header["entries"]:
        raise GalleryError(f"{path} is damaged: {len(rows)} entries, not {header['entries']}")
    entries, last = [], -1
    for number, subject, source in rows:
        if type(number) is not int or not last < number < header["next_id"]:
            raise GalleryError(f"{path} is damaged: the ids of its entries do not rise")
        if not isinstance(source, str | None):
            raise GalleryError(f"{path} is damaged: the source of entry {number} is no text")
        entries.append(Entry(id=number, subject=check_subject(subject), source=source))
        last = number
    return tuple(entries)
