"""A gallery on disk: a directory whose one small header names the files that count.

    gallery.json                             the header: version, model, names and digests of the files
    gallery-00000007.embeddings.safetensors  [N, E] float32 unit vectors
    gallery-00000007.entries.json            ids, subjects and sources of the N rows

Every change notes in `.gallery.json.writing` which files it is about to write, writes both anew under
the next generation's name, then replaces the header, which is the moment at which the change counts,
then deletes the files of the generation before, which the header names, and the note. Whatever kills
the process, the header names whole files; what a killed process left over is deleted when the gallery
is next opened. A removed subject is therefore in no file of the directory. That says nothing of the
medium below: SSDs and copying file systems keep old blocks for a while, backups keep them for long.
Where that matters, encrypt, and destroy the key with the gallery.

Nothing else is deleted, and nothing before header and files were read and found to be in order. A
header beside files of its own or a later generation that neither it nor a note accounts for, such as
one that was put back from a copy or rewritten to name no files, is refused.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.atomic import TEMPORARY, sync, write_bytes
from jaxcv.faces.gallery.contents import Contents, parse_entries, parse_tensors, table, tensors
from jaxcv.faces.gallery.contract import GalleryError
from jaxcv.faces.gallery.encryption import DecryptionError, Key, digest
from jaxcv.faces.gallery.header import (
    HEADER,
    KINDS,
    check_use,
    complete,
    context,
    file_name,
    is_sealed,
    make_header,
    parse_header,
    replaced_generations,
    sealed,
)

logger = logging.getLogger(__name__)

_EMBEDDINGS, _ENTRIES = KINDS
_NOTE = f".{HEADER}.writing"
_GENERATION = re.compile(rf"gallery-(\d{{8,}})\.({'|'.join(map(re.escape, KINDS))})")


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
            contents = None if header is None else self._contents(header)
            leftovers = self._leftovers(header, self.key)
            self._check_accounted(header, leftovers)
            try:
                self._delete(leftovers)
            except PermissionError as error:
                logger.warning("%s is left over and cannot be deleted", error.filename)
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
            current = key if header is None else self.key
            try:
                if header is None:
                    # From here on files without a header are damage, not a first change cut short.
                    empty = Contents(embeddings=contents.embeddings[:0])
                    header = self._write_generation(None, empty, key=key, current=key)
                self._write_generation(header, contents, key=key, current=current)
            except Exception:
                with contextlib.suppress(OSError, GalleryError):
                    self._delete(self._leftovers(self._header(), current))
                raise
        self.key = key

    def sweep(self) -> None:
        """Deletes the files that do not count any more.

        Raises:
            OSError: where one cannot be deleted.
        """
        with self._locked():
            header = self._header()
            if header is not None and header["digest"] == self._seen:
                self._delete(self._leftovers(header, self.key))

    def _write_generation(
        self,
        before: dict[str, Any] | None,
        contents: Contents,
        *,
        key: Key | None,
        current: Key | None,
    ) -> dict[str, Any]:
        """Writes what follows `before` (None: the first, without files), and returns its header.

        Args:
            before: the header that is replaced, sealed with `current`.
            contents: what to write.
            key: encrypts it.
            current: seals the note, so that whoever can read `before` believes it.
        """
        generation = 0 if before is None else before["generation"] + 1
        replaces = [] if before is None else [before["generation"], *replaced_generations(before)]
        header = make_header(
            gallery=(before or {}).get("gallery", "") or secrets.token_hex(16),
            generation=generation,
            replaces=[number for number in replaces if self._files_of(number)],
            entries=len(contents.entries),
            next_id=contents.next_id,
            embedding_size=self.embedding_size,
            model_digest=self.model_digest,
            key=key,
        )
        kinds = KINDS if contents.entries else ()
        if before is not None and kinds:
            names = [file_name(generation, kind) for kind in kinds]
            note = sealed({"after": before["digest"], "files": names}, current)
            write_bytes(self.directory / _NOTE, json.dumps(note).encode(), mode=0o600)
        files = {}
        for kind in kinds:
            data = table(contents) if kind == _ENTRIES else tensors(contents)
            name = file_name(generation, kind)
            if key is not None:
                data = key.encrypt(data, context(header, name))
            write_bytes(self.directory / name, data, mode=0o600)
            files[name] = digest(data)
        header = complete(header, files, key)
        data = json.dumps(header, indent=1).encode() + b"\n"
        write_bytes(self.directory / HEADER, data, mode=0o600)
        self._seen = header["digest"]
        return header

    def _header(self) -> dict[str, Any] | None:
        path = self.directory / HEADER
        try:
            return parse_header(path, path.read_bytes())
        except FileNotFoundError:
            orphans = sorted(self._generations())
        if orphans:
            raise GalleryError(f"{path} is missing, but {orphans[0]} is there")
        return None

    def _contents(self, header: dict[str, Any]) -> Contents:
        shape = (header["entries"], self.embedding_size)
        if not header["files"]:
            return Contents(embeddings=np.zeros(shape, np.float32), next_id=header["next_id"])
        embeddings = parse_tensors(*self._file(header, _EMBEDDINGS), shape)
        entries = parse_entries(*self._file(header, _ENTRIES), header)
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

    def _generations(self) -> dict[str, int]:
        """The generation of each file that is named as one of a gallery."""
        found = ((path.name, _GENERATION.fullmatch(path.name)) for path in self.directory.iterdir())
        return {name: int(match[1]) for name, match in found if match is not None}

    def _files_of(self, generation: int) -> list[str]:
        names = [file_name(generation, kind) for kind in KINDS]
        return [name for name in names if (self.directory / name).exists()]

    def _leftovers(self, header: dict[str, Any] | None, key: Key | None) -> list[Path]:
        """What may be deleted: notes, files that the header replaced, and those of a change cut short.

        Args:
            header: the one that counts.
            key: it is sealed with this.
        """
        names = [path.name for path in self.directory.glob(f"{TEMPORARY}*")]
        names += [_NOTE] * (self.directory / _NOTE).exists()
        if header is not None:
            begun = self._noted_files(header, key)
            replaced = [n for g in replaced_generations(header) for n in self._files_of(g)]
            names = [*begun, *replaced, *names]
        return [self.directory / name for name in names]

    def _noted_files(self, header: dict[str, Any], key: Key | None) -> list[str]:
        """The files there are of the change after `header`, if a note says that one was begun."""
        try:
            note = json.loads((self.directory / _NOTE).read_bytes())
        except (OSError, ValueError):
            return []  # A note cut short: none of its files was begun.
        following = self._files_of(header["generation"] + 1)
        believed = isinstance(note, dict) and is_sealed(note, key)
        if not believed or note.get("after") != header["digest"]:
            return []
        return [name for name in following if name in note["files"]]

    def _check_accounted(self, header: dict[str, Any] | None, leftovers: list[Path]) -> None:
        """Raises GalleryError for a file that says that the header is not the one last written."""
        if header is None:
            return
        known = {*header["files"], *(path.name for path in leftovers)}
        for name, generation in sorted(self._generations().items()):
            if name not in known and (generation >= header["generation"] or not header["entries"]):
                raise GalleryError(
                    f"{self.directory / name} is no part of what {HEADER} describes, generation "
                    f"{header['generation']} of {header['entries']} entries: the header was changed or "
                    "put back from an older copy, or the file added. Nothing was deleted; put back the "
                    "whole directory, or move the file away"
                )

    def _delete(self, leftovers: list[Path]) -> None:
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
