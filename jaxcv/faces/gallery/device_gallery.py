"""The gallery that needs nothing but JAX: exact search on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.faces.gallery.nearest import as_tiles, nearest_rows, query_capacity, tile_rows
from jaxcv.faces.gallery.stored_gallery import StoredGallery


class DeviceGallery(StoredGallery):
    """Searches all rows on the default device, tile by tile; see `StoredGallery` for the arguments.

    The device holds the rows, padded to one of few sizes so that a growing gallery meets a compiled
    program: 2 KiB an entry of size 512, and up to an eighth more. The host holds them once more.

    Example:
        >>> gallery = DeviceGallery(embedding_size=2, model_digest="m")
        >>> gallery.enroll("Ada", np.array([[3.0, 0.0]]), ["ada.jpg"])
        (0,)
        >>> gallery.search(np.array([[1.0, 0.0]]))[0][0]
        Match(subject='Ada', score=1.0, entry=0, source='ada.jpg')
    """

    _tiles: jax.Array | None = None

    def _forget(self) -> None:
        self._tiles = None

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        if self._tiles is None:
            self._tiles = jnp.asarray(as_tiles(self._contents.embeddings, tile_rows()))
        asked = np.zeros((query_capacity(len(queries)), self.embedding_size), np.float32)
        asked[: len(queries)] = queries
        # `rank` raises `count` in powers of two, so that makes few programs as well.
        k = min(count, self._tiles.shape[0] * self._tiles.shape[2])
        scores, rows = nearest_rows(asked, self._tiles, len(self), k=k)
        return np.asarray(scores)[: len(queries)], np.asarray(rows)[: len(queries)]
