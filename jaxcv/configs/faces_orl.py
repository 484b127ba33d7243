"""Faces of 40 people, ORL: train on 30 of them, verify the other 10, in about a minute on 2 CPU cores.

    python -m jaxcv train faces_orl --workdir runs/faces_orl

Data: the TFDS set `orl_faces` (400 grey pictures of 112x92, 10 of each person; Samaria & Harter 1994,
AT&T Laboratories Cambridge), shrunk to 32x28. `--data.seed` chooses other people to test on.

Results over 5 divisions of the people each, mean and standard deviation, of the last weights
(scripts/orl_faces.py, where the other heads are; some 35 s a run on 2 busy CPU cores):

    divisions           equal error rate: this, PCA    TAR at FAR 1%: this, PCA
    seeds 0 to 4          4.77 ± 1.56, 13.46 ± 3.38      82.1 ± 11.6, 54.0 ± 15.0
    seeds 20 to 24        6.28 ± 2.82, 11.98 ± 1.09      84.6 ±  6.5, 62.1 ± 13.5

PCA is scikit-learn's, 100 components. The margin was chosen on seeds 10 and 11, the network after a look at
seeds 0 and 1; seeds 20 to 24 were looked at once, when all was settled. With 10 people to test on, which
people they are counts for more than the head. Named among all 40 people from 5 pictures each: 99.7% and
99.8%, PCA 94.6% and 94.5% (logs: scripts/results/orl_faces*).
"""

from jaxcv.data import TFDS, DisjointIdentities
from jaxcv.image import ColorJitter, Normalize, RandomAffine, RandomHorizontalFlip
from jaxcv.losses import CosFace
from jaxcv.models import EmbeddingClassifier, FaceEmbedder
from jaxcv.tasks import FaceRecognition
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Optimizer,
)

PEOPLE = 30


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=DisjointIdentities(
            data=TFDS(name="orl_faces", size=(32, 28), fit="stretch"), test_identities=10
        ),
        model=EmbeddingClassifier(
            backbone=FaceEmbedder(embedding_size=128),
            num_classes=PEOPLE,
            embedding_size=128,
            flip_test=True,
        ),
        # Of few people the usual scale of 64 learns nothing but their pictures.
        task=FaceRecognition(
            num_classes=PEOPLE, margin=CosFace(scale=16.0, margin=0.35), false_accept_rates=(0.01,)
        ),
        optimizer=Optimizer(
            learning_rate=2e-3, algorithm=AdamW(weight_decay=1e-3), schedule=Cosine()
        ),
        batch_size=48,
        steps=500,
        augment=(
            RandomHorizontalFlip(),
            RandomAffine(degrees=12.0, translation=(0.08, 0.08), scale=(0.89, 1.13), fill=0.4),
            ColorJitter(brightness=0.3, contrast=0.3, saturation=0.0),
        ),
        # Mean and deviation of the pictures.
        preprocess=(Normalize(mean=(0.44,), std=(0.18,)),),
        eval_every=100,
        log_every=100,
    )
