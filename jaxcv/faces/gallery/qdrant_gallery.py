"""The same gallery in Qdrant, for those who outgrow one machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from jaxcv.faces.gallery.contract import Entry, GalleryError, Match, check_entries, unit_rows
from jaxcv.faces.gallery.ranking import Candidates, rank
from jaxcv.names import normal_name

_BATCH = 256
"""Points a request; 1 MB at size 512, far under the server's default limit of 32 MB."""


class QdrantGallery:
    """Entries are points of one collection; search is Qdrant's exact one, on unquantised vectors.

    Ids are times in nanoseconds, so that several machines can enrol at once and earlier entries have
    smaller ids. Encryption and the removal of bytes are the server's: it marks removed points at
    once and drops their bytes when its optimizer rewrites the segment; snapshots keep them. Give it
    an encrypted volume, TLS and an API key.

    Args:
        collection: its name; made by the first enrolment.
        embedding_size: E of the model in use.
        model_digest: of the model in use, kept with each point.
        url: of the server, such as http://localhost:6333; None keeps the points in this process.
        api_key: of the server.

    Raises:
        GalleryError: where the collection is of another model, or the server does not answer.
    """

    def __init__(
        self,
        collection: str = "faces",
        *,
        embedding_size: int,
        model_digest: str,
        url: str | None = None,
        api_key: str | None = None,
    ) -> None:
        self.embedding_size = embedding_size
        self.model_digest = model_digest
        self._collection = collection
        self._url = url
        self._last_id = 0
        qdrant = _qdrant()
        self._models = qdrant.models
        with self._asking():
            self._client = (
                qdrant.QdrantClient(":memory:")
                if url is None
                else qdrant.QdrantClient(url=url, api_key=api_key, check_compatibility=False)
            )
            self._check_collection()

    def __repr__(self) -> str:
        return f"QdrantGallery({self._url or 'memory'!r}, collection {self._collection!r})"

    def __len__(self) -> int:
        with self._asking():
            return self._count(None)

    def subjects(self) -> tuple[str, ...]:
        """Who is enrolled, in alphabetical order; reads the names of all entries."""
        return tuple(sorted({normal_name(name) for name in self._stored_names()}))

    def _stored_names(self) -> set[str]:
        """The names of all entries as they are stored, perhaps by an earlier version."""
        names: set[str] = set()
        offset: Any = None
        with self._asking():
            while self._client.collection_exists(self._collection):
                points, offset = self._client.scroll(
                    self._collection,
                    limit=4096,
                    offset=offset,
                    with_payload=["subject"],
                    with_vectors=False,
                )
                names |= {point.payload["subject"] for point in points}
                if offset is None:
                    break
        return names

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
        """Adds embeddings [N, E], the i-th of `subjects[i]`; see `Gallery.enroll_many`.

        Where a request fails, what the ones before it added is removed again, if the server lets it.
        """
        rows = unit_rows(embeddings, self.embedding_size)
        fields = check_entries(subjects, len(rows), sources, digests)
        first = max(self._last_id + 1, time.time_ns())
        points = [
            self._models.PointStruct(
                id=first + i,
                vector=rows[i].tolist(),
                payload={
                    "subject": subject,
                    "source": source,
                    "digests": list(marks),
                    "model": self.model_digest,
                },
            )
            for i, (subject, source, marks) in enumerate(fields)
        ]
        ids = [point.id for point in points]
        with self._asking():
            self._make_collection()
            try:
                for start in range(0, len(points), _BATCH):
                    part = points[start : start + _BATCH]
                    self._client.upsert(self._collection, part, wait=True)
            except Exception:
                with contextlib.suppress(Exception):
                    self._client.delete(self._collection, ids, wait=True)
                raise
        self._last_id = ids[-1]
        self.remove_entries(replacing)
        return tuple(ids)

    def remove(self, subject: str) -> int:
        """Removes all entries of a subject; see `Gallery.remove`, and above what the server keeps."""
        models, name = self._models, normal_name(subject)
        forms = [stored for stored in self._stored_names() if normal_name(stored) == name]
        condition = models.FieldCondition(key="subject", match=models.MatchAny(any=sorted(forms)))
        wanted = models.Filter(must=[condition])
        with self._asking():
            removed = self._count(wanted) if forms else 0
            if removed:
                selector = self._models.FilterSelector(filter=wanted)
                self._client.delete(self._collection, selector, wait=True)
        return removed

    def remove_entries(self, ids: Collection[int]) -> int:
        """Removes single entries; see `Gallery.remove_entries`."""
        if not ids:
            return 0
        with self._asking():
            if not self._client.collection_exists(self._collection):
                return 0
            there = [point.id for point in self._client.retrieve(self._collection, list(ids))]
            if there:
                self._client.delete(self._collection, there, wait=True)
        return len(there)

    def search(self, queries: Any, k: int = 1) -> list[list[Match]]:
        """Finds the k subjects nearest to each query; see `Gallery.search`.

        Args:
            queries: [Q, E] floating.
            k: how many.
        """
        rows = unit_rows(queries, self.embedding_size, "query")
        if k < 1:
            raise GalleryError(f"k is {k}, but at least 1 subject is to be found")
        total = len(self)
        if not total:
            raise GalleryError(f"{self!r} is empty: enrol somebody first")
        with self._asking():
            return rank(rows, k, self._propose, total=total)

    def _propose(self, queries: np.ndarray, count: int) -> Candidates:
        models = self._models
        # Without these two a server searches a large collection approximately; in memory they
        # have no effect, about which the client warns.
        plain = models.QuantizationSearchParams(ignore=True)
        exact = models.SearchParams(exact=True, quantization=plain) if self._url else None
        answers: list[Any] = []
        for start in range(0, len(queries), _BATCH):
            requests = [
                models.QueryRequest(
                    query=query.tolist(),
                    limit=count,
                    params=exact,
                    with_payload=["subject", "source"],
                    with_vector=True,
                )
                for query in queries[start : start + _BATCH]
            ]
            answers += self._client.query_batch_points(self._collection, requests)
        scores = np.full((len(queries), count), -np.inf, np.float32)
        vectors = np.zeros((len(queries), count, self.embedding_size), np.float32)
        entries = []
        for i, answer in enumerate(answers):
            points = answer.points
            scores[i, : len(points)] = [point.score for point in points]
            vectors[i, : len(points)] = [point.vector for point in points]
            entries.append([_entry(point) for point in points])
        return Candidates(scores=scores, entries=entries, vectors=vectors)

    def _check_collection(self) -> None:
        if not self._client.collection_exists(self._collection):
            return
        vectors = self._client.get_collection(self._collection).config.params.vectors
        size, distance = getattr(vectors, "size", None), getattr(vectors, "distance", None)
        if size != self.embedding_size or distance != self._models.Distance.DOT:
            raise GalleryError(
                f"{self!r} was made by another model or program: it holds vectors of size {size} "
                f"compared by {distance}, but size {self.embedding_size} and Dot are wanted"
            )
        same = self._having("model", self.model_digest)
        others = self._count(self._models.Filter(must_not=same.must))
        if others:
            raise GalleryError(
                f"{self!r} holds {others} entries made by another model than {self.model_digest}; "
                "use that model, or enrol the photos in another collection"
            )

    def _make_collection(self) -> None:
        models = self._models
        if self._client.collection_exists(self._collection):
            return
        # The vectors have length 1, so Dot is the cosine, and Qdrant need not scale them again.
        config = models.VectorParams(size=self.embedding_size, distance=models.Distance.DOT)
        self._client.create_collection(self._collection, vectors_config=config)
        if self._url is not None:  # indexes have no effect in a local collection
            for name in ("subject", "model"):
                kind = models.PayloadSchemaType.KEYWORD
                self._client.create_payload_index(self._collection, name, field_schema=kind)

    def _having(self, name: str, value: str) -> Any:
        condition = self._models.FieldCondition(
            key=name, match=self._models.MatchValue(value=value)
        )
        return self._models.Filter(must=[condition])

    def _count(self, wanted: Any) -> int:
        if not self._client.collection_exists(self._collection):
            return 0
        return self._client.count(self._collection, count_filter=wanted, exact=True).count

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except ApiException as error:
            raise GalleryError(f"Qdrant at {self._url} failed: {_reason(error)}") from None


def _reason(error: Any) -> str:
    """What went wrong, without the request or answer, which may hold vectors."""
    if hasattr(error, "status_code"):
        return f"status {error.status_code} {error.reason_phrase}"
    source = getattr(error, "source", error)
    # An answer that does not fit is a ValueError, which quotes it.
    text = "an unexpected answer" if isinstance(source, ValueError) else str(source)
    return f"{type(source).__name__}: {text}"


def _entry(point: Any) -> Entry:
    return Entry(
        id=point.id,
        subject=normal_name(point.payload["subject"]),
        source=point.payload["source"],
    )


def _qdrant() -> Any:
    try:
        import qdrant_client
    except ImportError:
        raise ImportError(
            'QdrantGallery needs qdrant-client: pip install "jaxcv[qdrant]"'
        ) from None
    return qdrant_client
