"""What a gallery of faces can do, whichever store is behind it, and what it takes.

`device_gallery.DeviceGallery` needs nothing else; the same interface stands over faiss
(`faiss_gallery`) and Qdrant (`qdrant_gallery`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from jaxcv.names import normal_name


class GalleryError(ValueError):
    """A gallery that cannot be read, changed or searched. The message names the file and the reason."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One enrolled embedding, without the embedding.

    Attributes:
        id: its number; a later one is larger, and none is given twice.
        subject: whose it is.
        source: where it came from, such as the name of a photo; None where nobody said.
        digests: what tells its photo from others, whatever the name: see `enrolment`.
    """

    id: int
    subject: str
    source: str | None = None
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Match:
    """A subject found by a search.

    Attributes:
        subject: who.
        score: cosine of the query and the subject's best entry, in [-1, 1].
        entry: the id of that entry.
        source: where that entry came from.
    """

    subject: str
    score: float
    entry: int
    source: str | None = None


class Gallery(Protocol):
    """Enrol, search and remove.

    Every gallery gives the same answer to the same question. The score of an entry is the cosine of
    query and entry: the sum of the products of the two unit vectors (float32), added in float64 and
    rounded to float32. A subject's score is that of its best entry. Subjects come in falling order
    of score; of equal scores the entry enrolled first wins. The search is exact.
    """

    embedding_size: int
    model_digest: str

    def enroll(
        self, subject: str, embeddings: Any, sources: Sequence[str | None] | None = None
    ) -> tuple[int, ...]:
        """Adds embeddings [K, E] of one subject, who may be enrolled already.

        Args:
            subject: a name, or better a pseudonym.
            embeddings: [K, E] floating, of any length but zero; unit vectors are kept of them.
            sources: K words that say where each came from, such as file names.

        Returns:
            The ids of the new entries.

        Raises:
            GalleryError: where something does not fit; then nothing has changed, on disk either.
        """
        ...

    def enroll_many(
        self,
        subjects: Sequence[str],
        embeddings: Any,
        sources: Sequence[str | None] | None = None,
        *,
        digests: Sequence[tuple[str, ...]] | None = None,
        replacing: Collection[int] = (),
    ) -> tuple[int, ...]:
        """Adds embeddings [N, E], the i-th of `subjects[i]`, in one go: all of them or none.

        Args:
            subjects: one per row.
            embeddings: [N, E], see `enroll`.
            sources: one per row, see `enroll`.
            digests: one tuple per row, see `enrolment`; None for none.
            replacing: ids of entries that are removed in the same go; unknown ones do not matter.
        """
        ...

    def search(self, queries: Any, k: int = 1) -> list[list[Match]]:
        """Finds the k subjects nearest to each query.

        Args:
            queries: [Q, E] floating.
            k: how many; fewer come back where the gallery has fewer subjects.

        Returns:
            For each query its matches, the best first.

        Raises:
            GalleryError: where the gallery is empty or the queries do not fit.
        """
        ...

    def remove(self, subject: str) -> int:
        """Removes all entries of a subject, in whatever Unicode form it is written.

        Returns:
            Their number, 0 where there was none.
        """
        ...

    def remove_entries(self, ids: Collection[int]) -> int:
        """Removes single entries; returns how many of them there were."""
        ...

    def subjects(self) -> tuple[str, ...]:
        """Who is enrolled, in alphabetical order."""
        ...

    def __len__(self) -> int:
        """How many entries there are."""
        ...


def check_subject(subject: str) -> str:
    """Returns the subject's name in the form in which names are compared, see `normal_name`.

    So one person, written in two Unicode forms or with a blank at the end, is one subject, in what
    earlier versions wrote too.

    Raises:
        GalleryError: where it is no text, blank, or not to be written as UTF-8.
    """
    if not isinstance(subject, str):
        raise GalleryError(f"a subject is a str, not {type(subject).__name__}")
    name = normal_name(subject)
    if not name or not name.isprintable():
        raise GalleryError(f"{subject!r} is no name of a subject: it is blank or not printable")
    return name


def check_entries(
    subjects: Sequence[str],
    count: int,
    sources: Sequence[str | None] | None,
    digests: Sequence[tuple[str, ...]] | None = None,
) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Joins the subjects, in the form of `check_subject`, sources and digests of new entries.

    Args:
        subjects: one a row.
        count: how many rows of embeddings there are.
        sources: one a row, or None.
        digests: one tuple a row, or None.

    Raises:
        GalleryError: where the numbers differ or a subject is no name.
    """
    for what, words in (
        ("subjects", subjects),
        ("sources", sources),
        ("digests", digests),
    ):
        if isinstance(words, str):
            raise GalleryError(f"{what} is one str; a sequence of {count} is wanted")
        if words is not None and len(words) != count:
            raise GalleryError(f"{len(words)} {what} were given for {count} embeddings")
    names = {subject: check_subject(subject) for subject in set(subjects)}
    places = [None if s is None else str(s) for s in sources or [None] * count]
    try:
        "".join(place for place in places if place).encode()
    except UnicodeEncodeError:
        raise GalleryError("a source cannot be written as UTF-8") from None
    marks = [tuple(map(str, d)) for d in digests or [()] * count]
    return list(zip((names[subject] for subject in subjects), places, marks, strict=True))


def unit_rows(embeddings: Any, embedding_size: int, what: str = "embedding") -> np.ndarray:
    """Scales each row to length 1.

    Args:
        embeddings: [N, E] floating.
        embedding_size: the E wanted.
        what: what an error calls a row.

    Returns:
        [N, E] float32, in memory of its own.

    Raises:
        GalleryError: where the shape differs, or a row is not finite or zero and so has no direction.
    """
    shape, dtype = np.shape(embeddings), getattr(embeddings, "dtype", np.dtype(float))
    if len(shape) != 2 or shape[1] != embedding_size:
        raise GalleryError(
            f"the gallery holds embeddings of size {embedding_size} and takes [N, {embedding_size}], "
            f"but the shape given is {list(shape)}"
        )
    if shape[0] == 0:
        raise GalleryError(f"no {what} was given")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise GalleryError(f"an {what} is floating, not {dtype}")
    rows = np.asarray(embeddings).astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    for bad, reason in ((~np.isfinite(largest), "is not finite"), (largest == 0, "is all zero")):
        if bad.any():
            raise GalleryError(f"{what} {int(bad[:, 0].argmax())} {reason}; it has no direction")
    rows /= largest  # so that no square over- or underflows
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
