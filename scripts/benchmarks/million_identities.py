"""Memory of a whole training step with the classifier of a million people, on one device.

    python scripts/benchmarks/million_identities.py [--classes 1000000] [--size 512] [--batch 128]

Compiles `make_train_step` - embeddings, ArcFace softmax over all classes, its gradient, clipping, the
update - and prints what the compiler's own account (`memory_analysis`) says: the state that is handed in
and updated in place, and the temporaries, of which the classifier's gradient is one. Nothing is run.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.models import MLP, EmbeddingClassifier
from jaxcv.tasks import FaceRecognition
from jaxcv.train import SGD, AdamW, DeviceMap, Optimizer, create_state, make_train_step
from jaxcv.train.parallel import is_sharded
from jaxcv.train.state import state_layout, variable_shapes

MIB = 2**20
ROWS = {
    "SGD, momentum": (SGD(momentum=0.9), 0.0),
    "the same, L2 penalty": (SGD(momentum=0.9), 5e-4),
    "the same, weight decay in the optimiser": (SGD(momentum=0.9, weight_decay=5e-4), 0.0),
    "AdamW": (AdamW(), 0.0),
}


def memory(
    classes: int, size: int, batch_size: int, algorithm: Any, l2: float
) -> tuple[float, ...]:
    """Gives MiB of the classifier, of the state, and of temporaries beyond one gradient."""
    backbone = MLP(num_classes=size)
    model = EmbeddingClassifier(backbone=backbone, num_classes=classes, embedding_size=size)
    task = FaceRecognition(num_classes=classes)
    settings = Optimizer(learning_rate=0.1, algorithm=algorithm, clip_norm=5.0)
    layout = state_layout(variable_shapes(model, (8, 8, 1)), settings.transformation(1))
    sharded = jax.tree.map(is_sharded, layout.params)
    optimizer = settings.transformation(1, sharded)
    step = make_train_step(model, task, optimizer, l2=l2, sharded=sharded)
    mapped = DeviceMap(jax.devices()[:1]).map(step, (layout, 0), out=(layout, None), donate=(0,))
    state = jax.eval_shape(lambda: create_state(model, optimizer, (8, 8, 1), seed=0, task=task))
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, 8, 8, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    analysis = mapped.lower(state, batch).compile().memory_analysis()
    classifier = state.params["classifier"].size * 4 / MIB
    temporaries = analysis.temp_size_in_bytes / MIB
    return classifier, analysis.argument_size_in_bytes / MIB, temporaries - classifier


def main() -> None:
    """Prints a row for each optimiser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    print(
        f"{options.classes:,} people, embeddings of {options.size}, batch {options.batch}, float32"
    )
    print("| optimiser | classifier MiB | state MiB | temporaries beyond one gradient, MiB |")
    print("|---|---|---|---|")
    for name, (algorithm, l2) in ROWS.items():
        found = memory(options.classes, options.size, options.batch, algorithm, l2)
        print(f"| {name} | {' | '.join(f'{value:,.1f}' for value in found)} |")


if __name__ == "__main__":
    main()
