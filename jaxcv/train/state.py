"""Everything that a training step reads and writes, as one pytree."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

Variables = dict[str, Any]


@struct.dataclass
class TrainState:
    """The whole state of a run; two equal states at one step continue to equal bytes.

    Attributes:
        step: [] int32, batches consumed so far. It alone decides which batch comes next.
        params: learned weights, float32.
        model_state: the model's other collections, such as BatchNorm statistics; {} where there are none.
        opt_state: the state of the Optax transformation.
        key: the run's PRNG key. It never changes: each step folds its number into it.
        ema: exponential moving average of `params` and `model_state`, or None.
        skipped: [] int32, updates left out because the loss or the gradient was not finite.
        skipped_in_a_row: [] int32, how many of them were the latest steps.
    """

    step: jax.Array
    params: Any
    model_state: Variables
    opt_state: optax.OptState
    key: jax.Array
    ema: Variables | None
    skipped: jax.Array
    skipped_in_a_row: jax.Array

    @property
    def variables(self) -> Variables:
        """What `model.apply` takes."""
        return {"params": self.params, **self.model_state}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    *,
    seed: int,
    ema: bool = False,
) -> TrainState:
    """Initialises a state at step 0.

    Args:
        model: Linen module called as `model(images [B,H,W,C], train=...)`.
        optimizer: the transformation whose slots the state holds.
        image_shape: (H, W, C) of one image as the model sees it, after augmentation and preprocessing.
        seed: the run's seed.
        ema: whether to keep an exponential moving average, which starts at the initial weights.
    """
    init_key, run_key = jax.random.split(jax.random.key(seed))

    def init() -> TrainState:
        # Jitted as a whole, so that a large model is initialised in one dispatch and its forward
        # pass, which only tells the shapes, is never computed.
        variables = dict(model.init(init_key, jnp.zeros((1, *image_shape)), train=False))
        params = variables.pop("params")
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=variables,
            opt_state=optimizer.init(params),
            key=run_key,
            ema={"params": params, **variables} if ema else None,
            skipped=jnp.zeros((), jnp.int32),
            skipped_in_a_row=jnp.zeros((), jnp.int32),
        )

    return jax.jit(init)()
