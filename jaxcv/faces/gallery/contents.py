"""What a gallery holds, and its two files: a tensor of embeddings and a table of entries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxcv.faces.gallery.contract import Entry, GalleryError, check_subject
from jaxcv.faces.gallery.header import HEADER


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


def tensors(contents: Contents) -> bytes:
    """The file of the embeddings."""
    return save({"embeddings": np.ascontiguousarray(contents.embeddings)})


def parse_tensors(path: Path, data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The embeddings float32 of a shape from their file.

    Raises:
        GalleryError: where they are something else.
    """
    try:
        embeddings = load(data)["embeddings"]
    except (SafetensorError, KeyError):
        raise GalleryError(f"{path} is damaged: it holds no embeddings") from None
    if embeddings.shape != shape or embeddings.dtype != np.float32:
        raise GalleryError(
            f"{path} is damaged: it holds {embeddings.dtype}{list(embeddings.shape)}, but "
            f"{HEADER} says float32{list(shape)}"
        )
    return embeddings


def table(contents: Contents) -> bytes:
    """The file of the entries."""
    columns = {
        "ids": [entry.id for entry in contents.entries],
        "subjects": [entry.subject for entry in contents.entries],
        "sources": [entry.source for entry in contents.entries],
        "digests": [entry.digests for entry in contents.entries],
    }
    return json.dumps(columns, ensure_ascii=False).encode()


def parse_entries(path: Path, data: bytes, header: dict[str, Any]) -> tuple[Entry, ...]:
    """The entries from their file.

    Raises:
        GalleryError: where they do not fit the header, or are none.
    """
    try:
        columns = json.loads(data)
        digests = columns.get("digests", [()] * len(columns["ids"]))  # earlier versions kept none
        rows = list(
            zip(columns["ids"], columns["subjects"], columns["sources"], digests, strict=True)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GalleryError(f"{path} is damaged: it is no table of entries") from None
    if len(rows) != header["entries"]:
        raise GalleryError(f"{path} is damaged: {len(rows)} entries, not {header['entries']}")
    entries, last = [], -1
    for number, subject, source, marks in rows:
        if type(number) is not int or not last < number < header["next_id"]:
            raise GalleryError(f"{path} is damaged: the ids of its entries do not rise")
        if not isinstance(source, str | None):
            raise GalleryError(f"{path} is damaged: the source of entry {number} is no text")
        if not isinstance(marks, list | tuple) or not all(isinstance(m, str) for m in marks):
            raise GalleryError(f"{path} is damaged: the digests of entry {number} are no texts")
        subject = check_subject(subject)
        entries.append(Entry(id=number, subject=subject, source=source, digests=tuple(marks)))
        last = number
    return tuple(entries)
