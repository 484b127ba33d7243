"""A gallery in memory and, if wanted, on disk; how its rows are searched is left to a subclass."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.faces.gallery.contents import Contents
from jaxcv.faces.gallery.contract import Entry, GalleryError, Match, check_entries, unit_rows
from jaxcv.faces.gallery.encryption import environment_key, parse_key
from jaxcv.faces.gallery.ranking import Candidates, rank
from jaxcv.faces.gallery.storage import Storage
from jaxcv.names import normal_name


class StoredGallery:
    """What `DeviceGallery` and `FaissGallery` share: the rows, whose they are, and the directory.

    A change is on disk when the call that makes it returns; one that fails leaves disk and memory as
    they were. Each change writes the whole gallery anew, 2 KiB an entry of size 512, so enrol many
    people with one `enroll_many`. Both classes read the same directories.

    Args:
        directory: where the gallery lies or will lie; None keeps it in memory alone.
        embedding_size: E of the model in use.
        model_digest: of the model in use, weights and preprocessing included: any text that differs
            whenever embeddings can no longer be compared.
        key: encrypts the directory, see `jaxcv.faces.gallery.encryption.new_key`; None takes the one in
            JAXCV_GALLERY_KEY, and stores plain files where that is not set.

    Raises:
        GalleryError: where the gallery on disk is of another model, damaged, or not to be decrypted.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        embedding_size: int,
        model_digest: str,
        key: str | None = None,
    ) -> None:
        if embedding_size < 1 or not model_digest:
            raise GalleryError("a gallery wants a model's embedding_size >= 1 and its model_digest")
        self.embedding_size = embedding_size
        self.model_digest = model_digest
        self._contents = Contents(embeddings=np.zeros((0, embedding_size), np.float32))
        self._people: int | None = None  # how many, once that was counted
        self._storage: Storage | None = None
        if directory is not None:
            self._storage = Storage(
                Path(directory),
                embedding_size=embedding_size,
                model_digest=model_digest,
                key=environment_key() if key is None else parse_key(key),
            )
            self._contents = self._storage.read() or self._contents

    def __repr__(self) -> str:
        where = "memory" if self._storage is None else str(self._storage.directory)
        return (
            f"{type(self).__name__}({where!r}, {len(self)} entries of size {self.embedding_size})"
        )

    def __len__(self) -> int:
        return len(self._contents.entries)

    def subjects(self) -> tuple[str, ...]:
        """Who is enrolled, in alphabetical order."""
        return tuple(sorted({entry.subject for entry in self._contents.entries}))

    def entries(self) -> tuple[Entry, ...]:
        """The entries in the order in which they were enrolled, without their embeddings."""
        return self._contents.entries

    def enroll(
        self, subject: str, embeddings: Any, sources: Sequence[str | None] | None = None
    ) -> tuple[int, ...]:
        """Adds embeddings [K, E] of one subject; see `Gallery.enroll`."""
        return self.enroll_many([subject] * len(np.atleast_1d(embeddings)), embeddings, sources)

    def enroll_many(
        self,
        subjects: Sequence[str],
        embeddings: Any,
        sources: Sequence[str | None] | None = None,
        *,
        digests: Sequence[tuple[str, ...]] | None = None,
        replacing: Collection[int] = (),
    ) -> tuple[int, ...]:
        """Adds embeddings [N, E], the i-th of `subjects[i]`; see `Gallery.enroll_many`."""
        rows = unit_rows(embeddings, self.embedding_size)
        fields = check_entries(subjects, len(rows), sources, digests)
        old = _without(self._contents, set(replacing))
        new = tuple(
            Entry(id=old.next_id + i, subject=subject, source=source, digests=marks)
            for i, (subject, source, marks) in enumerate(fields)
        )
        self._change(
            Contents(
                embeddings=np.concatenate([old.embeddings, rows]),
                entries=old.entries + new,
                next_id=old.next_id + len(new),
            )
        )
        return tuple(entry.id for entry in new)

    def remove(self, subject: str) -> int:
        """Removes all entries of a subject, from disk too; see `Gallery.remove` and `storage`.

        Raises:
            OSError: where an old file, which the message names, cannot be deleted.
        """
        name = normal_name(subject)
        return self.remove_entries(
            [entry.id for entry in self._contents.entries if entry.subject == name]
        )

    def remove_entries(self, ids: Collection[int]) -> int:
        """Removes single entries, from disk too; see `Gallery.remove_entries`.

        Raises:
            OSError: as `remove`.
        """
        left = _without(self._contents, set(ids))
        removed = len(self) - len(left.entries)
        if removed:
            self._change(left)
        return removed

    def change_key(self, key: str | None) -> None:
        """Writes the gallery anew with another key; None stores plain files.

        Raises:
            GalleryError: where the gallery is in memory alone.
        """
        if self._storage is None:
            raise GalleryError("this gallery is in memory alone; there is nothing to encrypt")
        self._storage.write(self._contents, key=None if key is None else parse_key(key))
        self._storage.sweep()

    def search(self, queries: Any, k: int = 1) -> list[list[Match]]:
        """Finds the k subjects nearest to each query; see `Gallery.search`.

        Args:
            queries: [Q, E] floating.
            k: how many.
        """
        rows = unit_rows(queries, self.embedding_size, "query")
        if k < 1:
            raise GalleryError(f"k is {k}, but at least 1 subject is to be found")
        if not self._contents.entries:
            raise GalleryError(f"{self!r} is empty: enrol somebody first")
        if self._people is None:
            self._people = len({entry.subject for entry in self._contents.entries})
        return rank(rows, k, self._propose, total=len(self), subject_count=self._people)

    def _propose(self, queries: np.ndarray, count: int) -> Candidates:
        scores, rows = self._nearest(queries, count)
        entries, vectors = self._contents.entries, self._contents.embeddings
        return Candidates(
            scores=scores,
            entries=[[entries[i] for i in found if i >= 0] for found in rows.tolist()],
            vectors=vectors[rows],
        )

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nearest rows.

        Args:
            queries: [Q, E] float32 unit vectors.
            count: how many rows, at least 1; more than there are is allowed.

        Returns:
            Scores [Q, M] float32 in falling order and rows [Q, M], M at most `count`; -inf and -1
            where there are none.
        """
        raise NotImplementedError

    def _forget(self) -> None:
        """Drops what was prepared for searching the rows as they were; by default nothing was."""

    def _change(self, contents: Contents) -> None:
        if self._storage is not None:
            self._storage.write(contents, key=self._storage.key)
        self._contents = contents
        self._people = None
        self._forget()
        if self._storage is not None:
            self._storage.sweep()


def _without(contents: Contents, ids: set[int]) -> Contents:
    """The contents without some entries."""
    if not ids:
        return contents
    keep = np.array([entry.id not in ids for entry in contents.entries], bool)
    entries = tuple(entry for entry in contents.entries if entry.id not in ids)
    return replace(contents, embeddings=contents.embeddings[keep], entries=entries)
