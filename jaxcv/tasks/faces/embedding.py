"""From a trained run to embeddings, and to the digest that tells its embedder from all others."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.data import Batches, ImageReader, Source
from jaxcv.data.faces.verification import StoredImages
from jaxcv.devices import AXIS
from jaxcv.models import EmbeddingClassifier, EmbeddingOutputs
from jaxcv.tasks import FaceRecognition, MetricLearning
from jaxcv.train.batch import Batch, preprocess_batch
from jaxcv.train.checkpoint import leaf_digests
from jaxcv.train.config_file import to_json
from jaxcv.train.feed import StreamFeed
from jaxcv.train.run import Run, SetupError
from jaxcv.train.state import Variables

# The classifier, in the parameters and among the settings of an `EmbeddingClassifier`: it serves
# training alone, and two models that differ in it embed alike.
_CLASSIFIER = "classifier"
_CLASSIFIER_SETTINGS = ("num_classes", "sub_centers", "multiple_of")


def embeds_faces(run: Run) -> bool:
    """Whether a run trains embeddings of faces."""
    return isinstance(run.experiment.task, FaceRecognition | MetricLearning)


def check_embedder(run: Run, workdir: Any) -> None:
    """Raises SetupError where the run in `workdir` does not train embeddings of faces."""
    if not embeds_faces(run):
        raise SetupError(
            f"the run in {workdir} trains {type(run.experiment.task).__name__}, no embeddings of faces; "
            "this command wants a run of FaceRecognition or MetricLearning, such as faces_orl"
        )


def picture_shape(run: Run) -> tuple[int, int, int]:
    """(H, W, C) of a face as the run's data set gives it, before preprocessing."""
    return run.data.image_shape


def embedding_size(run: Run) -> int:
    """Length D of the run's embeddings.

    Raises:
        SetupError: the model gives no embeddings.
    """
    images = jax.ShapeDtypeStruct((1, *run.image_shape), jnp.float32)
    model = run.experiment.model
    outputs = jax.eval_shape(
        lambda x: model.apply(model.init(jax.random.key(0), x, train=False), x, train=False), images
    )
    if not isinstance(outputs, EmbeddingOutputs):
        raise SetupError(f"the run's model gives no embeddings, but {type(outputs).__name__}")
    return int(outputs.embedding.shape[-1])


def embed_source(
    run: Run, variables: Variables, source: Source, *, flip_test: bool | None = None
) -> np.ndarray:
    """Embeds every record of a source, in order, on the run's devices.

    The classifier stays behind: it is neither applied nor gathered from the devices.

    Args:
        run: its model, preprocessing and devices.
        variables: what the model applies.
        source: pictures of the run's `picture_shape`; labels do not matter.
        flip_test: whether the embedding of the mirror image is added; None leaves that to the model.

    Returns:
        float32 [N, D].

    Raises:
        ValueError: a record cannot be read, or has another shape; it is named.
    """
    experiment = run.experiment
    model = experiment.model
    if flip_test is not None:
        if not isinstance(model, EmbeddingClassifier):
            raise SetupError(f"{type(model).__name__} has no flip test; leave it to the model")
        model = model.clone(flip_test=flip_test)
    _check_shape(source, picture_shape(run))
    # Powers of two, so that few programs are compiled, whatever the number of pictures.
    size = min(1 << (len(source) - 1).bit_length(), experiment.eval_batch_size)
    batches = Batches(
        source,
        size,
        shuffle=False,
        multiple_of=run.device_map.count,
        num_threads=run.runtime.num_threads,
    )

    def embed(variables: Variables, batch: Batch) -> jax.Array:
        images = preprocess_batch(batch, experiment.preprocess)["image"]
        outputs: Any = model.apply(variables, images, train=False)
        return jax.lax.all_gather(outputs.embedding, AXIS, tiled=True)

    call = StreamFeed(batches, run.device_map).bind(embed, embedder_part(run.layout.variables))
    variables = embedder_part(variables)
    parts = [np.asarray(call(variables, step))[:size] for step in range(len(batches))]
    return np.concatenate(parts)[: len(source)]


def embed_pictures(run: Run, variables: Variables, pictures: np.ndarray) -> np.ndarray:
    """Embeds pictures uint8 [N, H, W, C] in memory; see `embed_source`."""
    names = [f"picture {i}" for i in range(len(pictures))]
    source = StoredImages(
        list(pictures), names, ImageReader(channels=pictures.shape[-1]), pixel_order="rgb"
    )
    return embed_source(run, variables, source)


def embedder_part(variables: Variables) -> Variables:
    """Variables, or anything that lies like them, without the classifier."""
    params = {name: part for name, part in variables["params"].items() if name != _CLASSIFIER}
    return {**variables, "params": params}


def embedder_digest(run: Run, variables: Variables) -> str:
    """SHA-256, in hexadecimal, of all that decides an embedding.

    That is: every weight and statistic but the classifier's, the model's settings, the
    preprocessing and the size of a picture. Embeddings of equal digests can be compared, those of
    different ones cannot.
    """
    model = to_json(run.experiment.model)
    if isinstance(run.experiment.model, EmbeddingClassifier):
        model = {name: model[name] for name in model if name not in _CLASSIFIER_SETTINGS}
    body = {
        "leaves": leaf_digests(embedder_part(variables)),
        "model": model,
        "preprocess": to_json(run.experiment.preprocess),
        "picture_shape": list(picture_shape(run)),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def record_reader(run: Run) -> ImageReader:
    """What reads a picture into the run's `picture_shape`, as its data set reads its own."""
    return run.sized_image_reader


def _check_shape(source: Source, wanted: tuple[int, int, int]) -> None:
    """Raises where the first record has another shape; the batches compare the others with it."""
    if not len(source):
        raise SetupError("there is no picture to embed")
    found = source[0]["image"].shape
    if found != wanted:
        raise SetupError(
            f"{source.record_name(0)} is {list(found)}, but the run embeds pictures of {list(wanted)}"
        )
