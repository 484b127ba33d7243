"""The commands on galleries of faces: enroll, search, remove, subjects.

No embedding is printed, logged or written anywhere but into the gallery.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxcv.cli.options import run_options
from jaxcv.cli.verify import (
    FACE_OPTIONS,
    PHOTOS,
    THRESHOLD_OPTIONS,
    check_threshold,
    open_embedder,
)
from jaxcv.data.work_directories import is_inside
from jaxcv.errors import UsageError
from jaxcv.faces.gallery.contract import check_subject
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.gallery.enrolment import Photo, Plan, face_digest, file_digest, plan
from jaxcv.faces.gallery.header import HEADER, parse_header
from jaxcv.faces.photos import FaceReader, find_people, read_faces
from jaxcv.names import nearest_name, printable, without_surrogates
from jaxcv.predict.images import find_images
from jaxcv.tasks.faces.embedding import embed_pictures


def enroll(words: list[str]) -> int:
    """`jaxcv enroll GALLERY --workdir DIR FOLDER`."""
    options = run_options(
        "enroll",
        words,
        in_gallery=True,
        photos=(PHOTOS, (), "folders that hold a folder for each person; with --subject, photos"),
        subject=(str | None, None, "all photos are of this person: a name, or better a pseudonym"),
        skip_bad=(bool, False, "leave out photos that cannot be used, and say which"),
        **FACE_OPTIONS,
    )
    if not options.photos:
        raise UsageError("enroll wants at least one folder or photo")
    for folder in filter(os.path.isdir, options.photos):
        if is_inside(options.gallery, Path(folder)):
            raise UsageError(
                f"the gallery {options.gallery} lies among the photos, in {folder}, and would be taken "
                "for a person; put it elsewhere"
            )
    if options.subject is None:
        people = find_people(options.photos)
    else:
        people = [(check_subject(options.subject), file) for file in find_images(options.photos)]
    for person in {person for person, _ in people}:
        check_subject(person)
    embedder = open_embedder(options)
    gallery = embedder.gallery(options.gallery)
    photos, faces = _read_photos(people, embedder.reader(options), gallery, options.skip_bad)
    found = plan(photos, gallery.entries())
    _tell_known(found, len(photos) - len(found.new))
    if not found.new:
        if found.replaced:
            gallery.remove_entries(found.replaced)
            print(f"{len(found.replaced)} photos that are at their paths no more were removed")
        return 0
    new = [photos[place] for place in found.new]
    pictures = np.stack([faces[photo.source] for photo in new])
    gallery.enroll_many(
        [photo.subject for photo in new],
        embed_pictures(embedder.run, embedder.variables, pictures),
        [photo.source for photo in new],
        digests=[photo.digests for photo in new],
        replacing=found.replaced,
    )
    if found.replaced:
        print(f"{len(found.replaced)} photos took the place of others of the same path")
    count = len({photo.subject for photo in new})
    print(
        f"enrolled {len(new)} photos of {count} people: {options.gallery} holds {len(gallery)} of "
        f"{len(gallery.subjects())}"
    )
    return 0


def _read_photos(
    people: list[tuple[str, str]], reader: FaceReader, gallery: DeviceGallery, skip_bad: bool
) -> tuple[list[Photo], dict[str, np.ndarray]]:
    """The photos that can be used, with their digests; and the faces, by path, of all that may be new.

    Those whose files the gallery knows are not decoded.
    """
    photos = [
        Photo(
            subject=person,
            source=without_surrogates(os.path.abspath(file)),  # as it is shown
            given=file,
            digests=_file_digests(file, repr(reader)),
        )
        for person, file in people
    ]
    unknown = plan(photos, gallery.entries()).new
    hint = ". The gallery is as before; --skip-bad leaves such photos out"
    found = read_faces([photos[i].given for i in unknown], reader, skip_bad=skip_bad, hint=hint)
    for reason in found.failed.values():
        print(f"left out: {printable(reason)}")
    if unknown and not found.kept:
        raise ValueError(f"none of {len(unknown)} photos can be used; the gallery is as before")
    faces = {}
    for place, face in zip(found.kept, found.pictures, strict=True):
        photo = photos[unknown[place]]
        faces[photo.source] = face
        marks = (*photo.digests, face_digest(face))
        photos[unknown[place]] = dataclasses.replace(photo, digests=marks)
    failed = set(unknown) - {unknown[place] for place in found.kept}
    return [photo for i, photo in enumerate(photos) if i not in failed], faces


def _file_digests(file: str, reading: str) -> tuple[str, ...]:
    try:
        return (file_digest(Path(file).read_bytes(), reading),)
    except OSError:
        return ()  # Whoever reads the face says what is wrong.


def _tell_known(found: Plan, known: int) -> None:
    """Says what is enrolled already, under whatever name."""
    if known:
        print(f"{known} photos were enrolled already")
    if found.by_path:
        print(
            f"{found.by_path} of them are known by their path alone, from an earlier version; to have "
            "their contents compared from now on, remove these people and enroll them again"
        )
    if found.elsewhere:
        file, other = found.elsewhere[0]
        print(
            f"{len(found.elsewhere)} photos are enrolled under another name too: {printable(file)}, "
            f"say, as of {other}. If that is wrong: jaxcv remove"
        )


def search(words: list[str]) -> int:
    """`jaxcv search GALLERY --workdir DIR IMAGE ...`."""
    options = run_options(
        "search",
        words,
        in_gallery=True,
        photos=(PHOTOS, (), "photos, folders or globs"),
        count=(int, 5, "how many people to list for each photo"),
        **THRESHOLD_OPTIONS,
        skip_bad=(bool, False, "leave out photos that cannot be used, and say which"),
        **FACE_OPTIONS,
    )
    if not options.photos:
        raise UsageError("search wants at least one photo")
    check_threshold(options)
    files = find_images(options.photos)
    _read_header(options.gallery)  # A misspelt path is no empty gallery.
    embedder = open_embedder(options)
    gallery = embedder.gallery(options.gallery)
    faces = read_faces(
        files,
        embedder.reader(options),
        skip_bad=options.skip_bad,
        hint="; --skip-bad leaves such photos out",
    )
    for reason in faces.failed.values():
        print(f"left out: {printable(reason)}")
    if not faces.kept:
        raise ValueError(f"none of {len(files)} photos can be used")
    embeddings = embed_pictures(embedder.run, embedder.variables, faces.pictures)
    found = gallery.search(embeddings, options.count)
    threshold = embedder.threshold(options)
    print(f"threshold {threshold.value:.4f} ({threshold.origin})")
    for place, matches in zip(faces.kept, found, strict=True):
        print(printable(files[place]))
        width = max(len(match.subject) for match in matches)
        for match in matches:
            verdict = "accepted" if threshold.accepts(match.score) else ""
            line = f"  {match.subject:<{width}}  {match.score:7.4f}  {verdict:<8}  "
            print((line + printable(match.source or "")).rstrip())
        if not threshold.accepts(matches[0].score):
            print("  nobody reaches the threshold")
    return 0


def remove(words: list[str]) -> int:
    """`jaxcv remove GALLERY SUBJECT`."""

    @dataclass(frozen=True, kw_only=True)
    class Remove:
        """Remove all that a gallery holds of somebody, from disk too."""

        gallery: tyro.conf.Positional[Path]
        """Directory of the gallery."""
        subject: tyro.conf.Positional[str]
        """Whom."""

    options = tyro.cli(Remove, args=words, prog="jaxcv remove")
    gallery = _open_gallery(options.gallery)
    removed = gallery.remove(options.subject)
    if not removed:
        hint = nearest_name(options.subject, gallery.subjects())
        raise ValueError(f"{options.gallery} holds nobody called {options.subject!r}{hint}")
    print(
        f"removed {removed} photos of {printable(options.subject)}: {options.gallery} holds "
        f"{len(gallery)} of {len(gallery.subjects())} people"
    )
    return 0


def subjects(words: list[str]) -> int:
    """`jaxcv subjects GALLERY`."""

    @dataclass(frozen=True, kw_only=True)
    class Subjects:
        """List who is enrolled in a gallery, with the number of photos of each."""

        gallery: tyro.conf.Positional[Path]
        """Directory of the gallery."""

    options = tyro.cli(Subjects, args=words, prog="jaxcv subjects")
    counts = Counter(entry.subject for entry in _open_gallery(options.gallery).entries())
    for subject in sorted(counts):
        print(f"{counts[subject]:5}  {subject}")
    print(f"{sum(counts.values())} photos of {len(counts)} people")
    return 0


def _read_header(directory: Path) -> dict[str, Any]:
    path = directory / HEADER
    if not path.is_file():
        raise ValueError(
            f"{directory} holds no gallery ({HEADER} is missing); enrol somebody first"
        )
    return parse_header(path, path.read_bytes())


def _open_gallery(directory: Path) -> DeviceGallery:
    """A gallery to look at or to remove from, which needs no model."""
    header = _read_header(directory)
    return DeviceGallery(
        directory,
        embedding_size=header["embedding_size"],
        model_digest=header["model_digest"],
    )
