"""Everything that a training step reads and writes, as one pytree."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import PartitionSpec as P

from jaxcv.errors import UsageError
from jaxcv.train.task import Task
from jaxcv.train.training_data import TrainingData

Variables = dict[str, Any]


@struct.dataclass
class TrainState:
    """The whole state of a run; two equal states at one step continue to equal bytes.

    Attributes:
        step: [] int32, batches consumed so far. It alone decides which batch comes next.
        params: learned weights, float32.
        model_state: the model's other collections, such as BatchNorm statistics; {} where there are none.
        task_state: what the task's objective carries, such as a margin's statistics; () for nothing.
        opt_state: the state of the Optax transformation.
        key: the run's PRNG key. It never changes: each step folds its number into it.
        ema: exponential moving average of `params` and `model_state`, or None.
        skipped: [] int32, updates left out because the loss or the gradient was not finite.
        skipped_in_a_row: [] int32, how many of them were the latest steps.
    """

    step: jax.Array
    params: Any
    model_state: Variables
    task_state: Any
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
    task: Task | None = None,
    data: TrainingData | None = None,
    shardings: Any = None,
) -> TrainState:
    """Initialises a state at step 0.

    Args:
        model: Linen module called as `model(images [B,H,W,C], train=...)`.
        optimizer: the transformation whose slots the state holds.
        image_shape: (H, W, C) of one image as the model sees it, after augmentation and preprocessing.
        seed: the run's seed.
        ema: whether to keep an exponential moving average, which starts at the initial weights.
        task: whose objective's state it holds; None for none.
        data: the training records, for objectives whose state starts from them.
        shardings: where each array is made, a pytree like the state's (or a prefix of it): a large
            classifier is never whole on one device. None for the default device.
    """
    init_key, run_key = jax.random.split(jax.random.key(seed))

    def init(task_state: Any) -> TrainState:
        # Jitted as a whole, so that a large model is initialised in one dispatch and its forward
        # pass, which only tells the shapes, is never computed.
        variables = nn.unbox(_init_variables(model, image_shape, init_key))
        params = variables.pop("params")
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=variables,
            task_state=task_state,
            opt_state=optimizer.init(params),
            key=run_key,
            ema={"params": params, **variables} if ema else None,
            skipped=jnp.zeros((), jnp.int32),
            skipped_in_a_row=jnp.zeros((), jnp.int32),
        )

    # Handed over, since what the program itself holds, a teacher's weights, would be compiled into it.
    task_state = () if task is None else task.init_state(data)
    return jax.jit(init, out_shardings=shardings)(task_state)


def variable_shapes(model: nn.Module, image_shape: tuple[int, int, int]) -> Variables:
    """The shapes of a model's variables, boxed where the model says how they are sharded.

    Tracing a large model takes a second, so it is done once, for all who ask for shapes.
    """
    return jax.eval_shape(lambda: _init_variables(model, image_shape, jax.random.key(0)))


def state_layout(
    shapes: Variables, optimizer: optax.GradientTransformation, *, ema: bool = False
) -> TrainState:
    """Says how a state lies on the devices: `P()`, whole on each, or `P(AXIS)`, sharded by rows.

    Divided are the parameters that the model made with `nn.with_partitioning(..., (AXIS, ...))`, such
    as the rows of a large classifier, with their optimiser's slots and moving average.

    Args:
        shapes: of the model's variables, from `variable_shapes`.
        optimizer: the transformation whose slots the state holds.
        ema: whether it has a moving average.
    """
    model_state = nn.get_partition_spec(shapes)
    params = model_state.pop("params")
    of_params = dict(jax.tree_util.tree_leaves_with_path(params))

    def of_slot(path: tuple[Any, ...], _: Any) -> P:
        # A slot lies where its parameter does: its path ends with the parameter's.
        return next((of_params[path[i:]] for i in range(len(path)) if path[i:] in of_params), P())

    opt_state = jax.eval_shape(optimizer.init, nn.unbox(shapes["params"]))
    whole: Any = P()
    return TrainState(
        step=whole,
        params=params,
        model_state=model_state,
        task_state=whole,
        opt_state=jax.tree_util.tree_map_with_path(of_slot, opt_state),
        key=whole,
        ema={"params": params, **model_state} if ema else None,
        skipped=whole,
        skipped_in_a_row=whole,
    )


def chosen_variables(state: TrainState, *, ema: bool) -> Variables:
    """The weights of a state, or their moving average.

    Raises:
        UsageError: where the average is asked for and the run keeps none.
    """
    variables = state.ema if ema else state.variables
    if variables is None:
        raise UsageError("--ema was asked for, but this run keeps no averaged weights (ema_decay)")
    return variables


def _init_variables(
    model: nn.Module, image_shape: tuple[int, int, int], key: jax.Array
) -> Variables:
    return dict(model.init(key, jnp.zeros((1, *image_shape)), train=False))
