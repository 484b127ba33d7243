"""People who are patterns of noise: enough for a network to tell apart, and drawn in no time."""

import numpy as np
from PIL import Image

from jaxcv.data.faces import DisjointIdentities, People
from jaxcv.image import Normalize
from jaxcv.losses import CosFace
from jaxcv.models import MLP, EmbeddingClassifier
from jaxcv.tasks import FaceRecognition
from jaxcv.train import Experiment, Optimizer

PEOPLE, PHOTOS = 7, 5


def write_people(root, size=(10, 8)):
    """Writes root/NAME/NAME_000i.png of seven people, five photos each, in LFW's naming."""
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        folder = root / f"p{person}"
        folder.mkdir(parents=True)
        face = rng.uniform(40, 215, size)
        for photo in range(1, PHOTOS + 1):
            pixels = np.clip(face + rng.normal(0, 25, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"p{person}_{photo:04d}.png")
    return root


def experiment(root, **changes):
    """Four people to train on, three to test; a multi-layer perceptron of some hundred weights."""
    options = {
        "data": DisjointIdentities(
            data=People(root=str(root), size=(10, 8), channels=1), test_identities=3
        ),
        "model": EmbeddingClassifier(
            backbone=MLP(num_classes=12, hidden=(16,)), num_classes=4, embedding_size=12
        ),
        "task": FaceRecognition(
            num_classes=4, margin=CosFace(scale=8.0, margin=0.1), false_accept_rates=(0.1,)
        ),
        "optimizer": Optimizer(learning_rate=0.01),
        "batch_size": 8,
        "steps": 4,
        "preprocess": (Normalize(mean=(0.5,), std=(0.25,)),),
        "eval_every": 2,
        "eval_batch_size": 8,
    }
    return Experiment(**{**options, **changes})
