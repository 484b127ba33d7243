"""Muon: momentum whose matrices are made orthogonal before they become updates.

`optax.contrib.muon` (0.2.8) is the same method, and not a replacement here:

- It corrects Nesterov's average for its start, which the recipe of `cifar10_speedrun` does not. The
  first update is equal to 1e-6 of its largest entry; the next three are 4, 2 and 1% apart.
- It iterates in the dtype of the weights. The recipe has bfloat16, with float32 weights.
- It makes each matrix orthogonal by itself. On the recipe's six matrices that is 54 products, here 9,
  which is meant for GPUs and was timed on none. On 2 busy CPU cores padding costs more than it saves:
  740 ms an update beside 534, a quarter of the width 2.9 beside 2.7; compilation takes 2.6 s, not 6 to 9.

`python -m scripts.benchmarks.muon` prints these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

# K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024
# (kellerjordan.github.io/posts/muon): chosen for the steepest slope at 0, not for convergence to 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Matrices share a batch as long as it has at most this many times their numbers.
_MOST_PADDING = 2.0


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for matrices and filters (Jordan et al. 2024); for the rest Nadam.

    A filter [H,W,I,O] is the matrix [H*W*I, O]. The momentum is Nesterov's; the update of a matrix
    has singular values near 1, times sqrt(max(1, O / (H*W*I))).

    Attributes:
        momentum: decay of the momentum, in [0, 1).
        newton_schulz_steps: iterations of the orthogonalisation.
        weight_decay: decoupled, as a multiple of the rate of the parameter.
        adam_learning_rate: peak rate for biases and scales, relative to the others'.
        normalize_weights: scale each matrix to the norm sqrt(O) before each update, so that the
            learning rate alone says how far it turns. For weights before a normalisation without
            learned scale.
        dtype: in which matrices are made orthogonal.
    """

    momentum: float = 0.95
    newton_schulz_steps: int = 5
    weight_decay: float = 0.0
    adam_learning_rate: float = 0.1
    normalize_weights: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"

    needs_whole_matrices: ClassVar[bool] = True

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        matrices = optax.chain(
            optax.trace(self.momentum, nesterov=True),
            orthogonalize_updates(self.newton_schulz_steps, self.dtype),
            optax.add_decayed_weights(self.weight_decay, mask),
            optax.scale_by_learning_rate(rate),
            normalize_matrices() if self.normalize_weights else optax.identity(),
        )

        def rest_rate(step: Any) -> Any:
            return self.adam_learning_rate * rate(step)

        # `mask` leaves out biases and scales, which are all that is here; without one they decay too.
        decays = mask is None and self.weight_decay != 0
        rest = (
            optax.nadamw(rest_rate, weight_decay=self.weight_decay)
            if decays
            else optax.nadam(rest_rate)
        )

        def kind(params: Any) -> Any:
            return jax.tree.map(lambda p: "matrices" if p.ndim > 1 else "rest", params)

        return optax.partition({"matrices": matrices, "rest": rest}, kind)


def orthogonalize_updates(steps: int, dtype: Any) -> optax.GradientTransformation:
    """Replaces each update of two or more axes by an orthogonal matrix, scaled as `Muon` says."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        matrices = [leaf.reshape(-1, leaf.shape[-1]) for leaf in leaves]
        results = orthogonalized(matrices, steps=steps, dtype=dtype)
        leaves = [
            math.sqrt(max(1.0, result.shape[1] / result.shape[0])) * result.reshape(leaf.shape)
            for leaf, result in zip(leaves, results, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def normalize_matrices() -> optax.GradientTransformation:
    """Adds to each update what brings its matrix [.., O] to norm sqrt(O); the last of a chain."""

    def correction(update: jax.Array, weights: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(weights)
        factor = math.sqrt(weights.shape[-1]) / jnp.where(norm > 0, norm, 1.0)
        return update + jnp.where(norm > 0, factor - 1.0, 0.0) * weights

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(correction, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def orthogonalized(
    matrices: Sequence[jax.Array], *, steps: int = 5, dtype: Any = jnp.float32
) -> list[jax.Array]:
    """For each G = U S V^T a matrix close to U V^T, by Newton-Schulz iteration (Jordan et al. 2024).

    X <- a X + (b A + c A^2) X with A = X X^T, from X = G / |G|. The singular values end between about
    0.7 and 1.2 where they were not tiny. Matrices are padded by zeros, which the iteration keeps, and
    go through it together: a step of a small network is otherwise dozens of tiny products, which a
    GPU spends its time starting.

    Args:
        matrices: each [M, N].
        steps: iterations.
        dtype: to compute in.

    Returns:
        Matrices of the same shapes and dtypes.

    Example:
        >>> turned, = orthogonalized([jnp.array([[0.0, 3.0], [-4.0, 0.0]])])
        >>> bool(jnp.allclose(turned @ turned.T, jnp.eye(2), atol=0.6))
        True
    """
    # Lying on their side, so that A is the smaller of the two possible products.
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    found: dict[int, jax.Array] = {}
    for members in batches_of_shapes([matrix.shape for matrix in wide]):
        rows, columns = (max(wide[i].shape[axis] for i in members) for axis in (0, 1))
        batch = jnp.stack(
            [
                jnp.pad(wide[i], ((0, rows - wide[i].shape[0]), (0, columns - wide[i].shape[1])))
                for i in members
            ]
        )
        batch = _newton_schulz(batch.astype(dtype), steps)
        for place, i in enumerate(members):
            height, width = wide[i].shape
            found[i] = batch[place, :height, :width]
    return [
        (found[i].T if matrix.shape[0] > matrix.shape[1] else found[i]).astype(matrix.dtype)
        for i, matrix in enumerate(matrices)
    ]


def _newton_schulz(x: jax.Array, steps: int) -> jax.Array:
    """[G, M, N] -> [G, M, N]."""
    a, b, c = _COEFFICIENTS
    norm = jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32)), axis=(1, 2), keepdims=True))
    x = (x / (norm + 1e-7)).astype(x.dtype)
    for _ in range(steps):
        square = x @ x.swapaxes(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x


def batches_of_shapes(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Which matrices are padded to one shape: indices, so that padding at most doubles the numbers.

    Example:
        >>> batches_of_shapes([(64, 576), (256, 2304), (256, 2304), (2, 3)])
        [[1, 2], [0], [3]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(shapes)), key=lambda i: -math.prod(shapes[i])):
        for batch in batches:
            members = [shapes[j] for j in [*batch, i]]
            padded = len(members) * math.prod(max(sides) for sides in zip(*members, strict=True))
            if padded <= _MOST_PADDING * sum(map(math.prod, members)):
                batch.append(i)
                break
        else:
            batches.append([i])
    return batches
