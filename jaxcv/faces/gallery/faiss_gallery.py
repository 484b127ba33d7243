"""The same gallery searched by faiss: a flat index of inner products, exact as well."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcv.faces.gallery.stored_gallery import StoredGallery


class FaissGallery(StoredGallery):
    """Searches with faiss's IndexFlatIP; see `StoredGallery` for the arguments.

    The index is built in memory at the first search after a change, and never written: on disk lies
    the same directory as `DeviceGallery`'s, with the same encryption and the same removal.
    """

    _index: Any = None

    def _forget(self) -> None:
        self._index = None

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        if self._index is None:
            self._index = _faiss().IndexFlatIP(self.embedding_size)
            self._index.add(np.ascontiguousarray(self._contents.embeddings))
        return self._index.search(queries, min(count, len(self)))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError('FaissGallery needs faiss: pip install "jaxcv[faiss]"') from None
    return faiss
