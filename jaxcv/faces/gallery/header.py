"""The header of a gallery on disk: what it says, and whether it can be believed and used.

That of an encrypted gallery is sealed with the gallery's key, and each file is encrypted in the
context of gallery, generation and name: none can be changed, left out, taken from another gallery or
from an earlier generation. A header of version 1 has no seal. One with entries is believed as far as
its files decrypt, for they are bound to its fields; one without, only where no file of a gallery lies
beside it. The next change writes version 2.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

from jaxcv.faces.gallery.contract import GalleryError
from jaxcv.faces.gallery.encryption import VARIABLE, Key, digest

HEADER = "gallery.json"
KINDS = ("embeddings.safetensors", "entries.json")

_FORMAT, _VERSION = "jaxcv-gallery", 2
_COUNTS = ("generation", "entries", "next_id", "embedding_size")


def file_name(generation: int, kind: str) -> str:
    """The file of a generation that holds its embeddings or its entries."""
    return f"gallery-{generation:08d}.{kind}"


def make_header(
    *,
    gallery: str,
    generation: int,
    replaces: list[int],
    entries: int,
    next_id: int,
    embedding_size: int,
    model_digest: str,
    key: Key | None,
) -> dict[str, Any]:
    """The header but for `files`, `seal` and `digest`; encrypted files are bound to this part of it.

    Args:
        gallery: what tells this gallery from every other: random, and the same for all generations.
        generation: the number of the change that makes it.
        replaces: generations whose files do not count any more and are to be deleted.
        entries, next_id, embedding_size, model_digest: see `storage.Contents` and `storage.Storage`.
        key: of the files.
    """
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "gallery": gallery,
        "generation": generation,
        "replaces": replaces,
        "entries": entries,
        "next_id": next_id,
        "embedding_size": embedding_size,
        "model_digest": model_digest,
        "key": None if key is None else key.name,
    }


def complete(
    header: dict[str, Any], files: dict[str, str], key: Key | None = None
) -> dict[str, Any]:
    """The whole header: `files` gives the digest of each file by name; `key` seals it."""
    return sealed({**header, "files": files}, key)


def sealed(fields: dict[str, Any], key: Key | None) -> dict[str, Any]:
    """The fields with a seal, where there is a key, and a digest."""
    if key is not None:
        fields = {**fields, "seal": key.seal(_canonical(fields))}
    return {**fields, "digest": digest(_canonical(fields))}


def is_sealed(fields: dict[str, Any], key: Key | None) -> bool:
    """Whether fields that `sealed` returned are as they were, sealed with this key (None: with none)."""
    body = {name: value for name, value in fields.items() if name not in ("seal", "digest")}
    wanted, found = sealed(body, key), {name: fields.get(name) for name in ("seal", "digest")}
    return all(
        hmac.compare_digest(str(found[name]), str(wanted.get(name))) for name in ("seal", "digest")
    )


def replaced_generations(header: dict[str, Any]) -> list[int]:
    """The generations whose files do not count any more.

    Version 1 did not say: it is the one before, where the header has files that vouch for it.
    """
    before = [header["generation"] - 1] if header["files"] and header["generation"] else []
    found: list[int] = header.get("replaces", before)
    return found


def context(header: dict[str, Any], name: str) -> bytes:
    """What an encrypted file is bound to: the header's fields and its own name."""
    fixed = {field: header[field] for field in header if field not in ("files", "seal", "digest")}
    return _canonical({**fixed, "file": name})


def parse_header(path: Path, data: bytes) -> dict[str, Any]:
    """Reads a header.

    Args:
        path: where it lies, for the message.
        data: its bytes.

    Raises:
        GalleryError: where it is none, of another version, or damaged.
    """
    try:
        header = json.loads(data)
    except ValueError:
        raise GalleryError(f"{path} is damaged: it is no JSON") from None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise GalleryError(f"{path} is not of a gallery of jaxcv")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise GalleryError(
            f"{path} has version {version!r}, but this jaxcv reads versions 1 to {_VERSION}"
        )
    body = {name: value for name, value in header.items() if name != "digest"}
    if header.get("digest") != digest(_canonical(body)):
        raise GalleryError(f"{path} is damaged: its digest differs")
    if not _fits(header):
        raise GalleryError(f"{path} is damaged: its fields do not fit together")
    return header


def check_use(
    path: Path, header: dict[str, Any], *, embedding_size: int, model_digest: str, key: Key | None
) -> None:
    """Compares a header with the model and the key in use.

    Raises:
        GalleryError: where the gallery is of another model, or encrypted otherwise.
    """
    wanted = {"embedding_size": embedding_size, "model_digest": model_digest}
    for name, what in (("embedding_size", "size"), ("model_digest", "digest")):
        if header[name] != wanted[name]:
            raise GalleryError(
                f"{path} was made by another model: {what} {header[name]}, but the model in use has "
                f"{what} {wanted[name]}. Use that model, or enrol the photos in another gallery"
            )
    found = header["key"]
    if found is not None and key is None:
        raise GalleryError(f"{path} is of an encrypted gallery; put its key into {VARIABLE}")
    if found is None and key is not None:
        raise GalleryError(
            f"{path} is of a gallery that is not encrypted, but {VARIABLE} is set. Unset it, or "
            "encrypt the gallery: open it without the key and call change_key"
        )
    if key is not None and found != key.name:
        raise GalleryError(
            f"{path} is of a gallery encrypted with another key ({found}) than the one in "
            f"{VARIABLE} ({key.name})"
        )
    if header["version"] > 1 and not is_sealed(header, key):
        raise GalleryError(
            f"{path} has no seal that fits, so that nothing it says of its files can be believed and "
            "they cannot be decrypted: the key is another one, or the header was changed or replaced. "
            "Nothing was deleted; put the whole directory back from a copy"
        )


def _fits(header: dict[str, Any]) -> bool:
    if any(type(header.get(name)) is not int or header[name] < 0 for name in _COUNTS):
        return False
    if header["version"] > 1:
        replaces = header.get("replaces")
        if not isinstance(header.get("gallery"), str) or not isinstance(replaces, list):
            return False
        if not all(type(n) is int and 0 <= n < header["generation"] for n in replaces):
            return False
    kinds = KINDS if header["entries"] else ()
    files = {file_name(header["generation"], kind) for kind in kinds}
    return (
        isinstance(header.get("model_digest"), str)
        and isinstance(header.get("key"), str | None)
        and isinstance(header.get("files"), dict)
        and set(header["files"]) == files
    )


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
