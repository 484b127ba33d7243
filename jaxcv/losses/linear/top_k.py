"""The best classes of a huge classifier, or the nearest rows of a gallery, tile by tile."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_range
from jaxcv.devices import gather
from jaxcv.losses.arguments import as_float
from jaxcv.losses.linear.arguments import check_block_size, check_linear
from jaxcv.losses.linear.blocks import choose_blocks, over_tiles, part, with_part
from jaxcv.losses.linear.plan import Plan
from jaxcv.losses.linear.portable import inverse_lengths, tile_scores
from jaxcv.losses.linear.shards import Shard, shard_of
from jaxcv.losses.linear.tiles import own_rows


def linear_top_k(
    embeddings: jax.Array,
    classifier: jax.Array,
    k: int,
    *,
    bias: jax.Array | None = None,
    normalize: bool = False,
    num_classes: int | None = None,
    block_size: int | None = None,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> tuple[jax.Array, jax.Array]:
    """The k largest of embeddings @ classifier.T + bias, without the [N, C] matrix.

    Args:
      embeddings: [N, D] floating.
      classifier: [C, D] floating: class centres, or a gallery of embeddings; [C, K, D] with K centres
        a class, of which the nearest counts.
      k: How many, in [1, C].
      bias: [C].
      normalize: Whether scores are cosines; a zero row has cosine 0 to everything.
      num_classes: How many rows, over all devices, are classes; the rest is padding.
      block_size: Classes a tile; None chooses by shape.
      axis_name: The device axis that rows and classes are spread over, as in
        `linear_softmax_cross_entropy`; results are those of the device's own rows.
      precision: Of the products, as in `jnp.matmul`.

    Returns:
      Scores [N, k] in falling order, at least float32, and classes [N, k] int32, the lower class
      first where scores are equal. Constants to differentiation.

    Raises:
      ValueError: for shapes or settings that do not fit, and an axis that is not bound.

    Example:
      >>> linear_top_k(jnp.array([[1.0]]), jnp.array([[1.0], [3.0], [2.0]]), 2)[1]
      Array([[1, 2]], dtype=int32)
    """
    check_linear(embeddings, classifier, None, bias)
    check_block_size(block_size)
    shard = shard_of(classifier.shape[0], num_classes, None, axis_name)
    check_range("k", k, 1, shard.num_classes)
    embeddings, classifier, bias = jax.lax.stop_gradient((embeddings, classifier, bias))
    dtype = jnp.promote_types(embeddings.dtype, classifier.dtype)
    local = embeddings.shape[0]
    x = gather(as_float(embeddings), axis_name)
    blocks = choose_blocks(x.shape[0], classifier.shape[:-1], block_size)
    plan = Plan(
        row_block=blocks.rows,
        class_block=blocks.classes,
        dtype=str(dtype),
        normalize=normalize,
        padded=shard.padded,
        precision=precision,
    )
    x = x.astype(plan.wide)
    factors = inverse_lengths(x, plan.wide) if normalize else jnp.ones(x.shape[:1], plan.wide)
    here = min(k, classifier.shape[0])
    scores, classes = _local_top_k(plan, shard, x, factors, classifier, bias, here)
    if axis_name is None:
        return scores, classes
    # In the order of the devices, hence of the classes: equal scores stay in order.
    scores = jax.lax.all_gather(scores, axis_name, axis=1, tiled=True)
    classes = jax.lax.all_gather(classes, axis_name, axis=1, tiled=True)
    scores, classes = _best(
        own_rows(scores, local, axis_name), own_rows(classes, local, axis_name), k
    )
    return scores, classes


def _local_top_k(
    plan: Plan,
    shard: Shard,
    x: jax.Array,
    factors: jax.Array,
    classifier: jax.Array,
    bias: jax.Array | None,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """The best k of this device's classes for the rows of all devices."""

    def classes(start: Any, width: int, carry: Any) -> Any:
        w, b = part(classifier, start, width), part(bias, start, width)
        numbers = start + jnp.arange(width, dtype=jnp.int32)

        def rows(row: Any, height: int, carry: Any) -> Any:
            scores = tile_scores(plan, part(x, row, height), part(factors, row, height), w, b)
            if plan.padded:
                scores = jnp.where(numbers < shard.limit, scores, -jnp.inf)
            names = jnp.broadcast_to(shard.start + numbers, scores.shape)
            best = _best(scores, names.astype(jnp.int32), min(k, width))
            held = jax.tree.map(lambda a: part(a, row, height), carry)
            joined = [jnp.concatenate(pair, axis=1) for pair in zip(held, best)]
            new = _best(joined[0], joined[1], k)
            return jax.tree.map(lambda a, piece: with_part(a, piece, row), carry, new)

        return over_tiles(x.shape[0], plan.row_block, rows, carry)

    shape = (x.shape[0], k)
    carry = jnp.full(shape, -jnp.inf, plan.wide), jnp.full(shape, -1, jnp.int32)
    return over_tiles(classifier.shape[0], plan.class_block, classes, carry)


def _best(scores: jax.Array, names: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    scores, order = jax.lax.top_k(scores, k)
    return scores, jnp.take_along_axis(names, order, axis=1)
