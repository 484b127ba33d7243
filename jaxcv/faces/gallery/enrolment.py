"""Which photos a gallery has already: by what is in them, not by what they are called.

An entry keeps two digests: of its photo's file, which tells the photo without decoding it, and of the
face that was cut out of it, which also tells a copy saved in another lossless format. Entries of
earlier versions have none: they are told by subject and path alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxcv.faces.gallery.contract import Entry


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo that is to be enrolled.

    Attributes:
        subject: whose it is.
        source: its absolute path.
        given: its path as it was given, which is how earlier versions kept it.
        digests: of its file, and of the face in it where that was read.
    """

    subject: str
    source: str
    given: str
    digests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of photos.

    Attributes:
        new: places of those to be enrolled; the others are enrolled already.
        replaced: ids of entries whose photo there is no more: its path holds another.
        elsewhere: (path, other subject) of new photos that are enrolled under another name too.
        by_path: how many are known by their path alone, to an entry without digests.
    """

    new: list[int] = field(default_factory=list)
    replaced: tuple[int, ...] = ()
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    by_path: int = 0


def file_digest(data: bytes, reading: str) -> str:
    """Digest of a photo's file and of how it is read, since that decides which face it gives."""
    return hashlib.sha256(reading.encode() + b"\0" + data).hexdigest()


def face_digest(face: np.ndarray) -> str:
    """Digest of a face uint8 [H, W, C]: of its pixels and its shape."""
    face = np.ascontiguousarray(face)
    return hashlib.sha256(f"{face.dtype}{face.shape}".encode() + face.tobytes()).hexdigest()


def plan(photos: Sequence[Photo], entries: Sequence[Entry]) -> Plan:
    """Compares photos with what is enrolled, and with each other.

    A photo is new if none of its subject's has one of its digests. Where it lies at the path of an
    entry of its subject whose own photo is not among the given ones any more, it replaces that entry.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        for digest in entry.digests:
            holders[digest].append(entry.subject)
    at = {(entry.subject, entry.source): entry for entry in entries}
    present = {(photo.subject, digest) for photo in photos for digest in photo.digests}
    new: list[int] = []
    elsewhere: list[tuple[str, str]] = []
    replaced: set[int] = set()
    by_path = 0
    for place, photo in enumerate(photos):
        own = at.get((photo.subject, photo.source))
        named = own or at.get((photo.subject, photo.given))
        if named is not None and not named.digests:
            by_path += 1
            continue
        if own is not None and not any((own.subject, digest) in present for digest in own.digests):
            replaced.add(own.id)
        subjects = [subject for digest in photo.digests for subject in holders[digest]]
        if photo.subject in subjects:
            continue
        new.append(place)
        if subjects:
            elsewhere.append((photo.source, subjects[0]))
        for digest in photo.digests:
            holders[digest].append(photo.subject)
    return Plan(new=new, replaced=tuple(sorted(replaced)), elsewhere=elsewhere, by_path=by_path)
