"""IResNet-100 with CosFace on Glint360K: 360,232 people, 17 million faces of 112x112, 20 epochs.

    python -m jaxcv train faces_glint360k_r100 --workdir runs/glint360k_r100 --data.data.root PATH

PATH is the folder of InsightFace's "glint360k": train.rec, train.idx and property. For 8 accelerators of
40 GB; it has not been run by this project.

Recipe: InsightFace's configuration for this network and data (github.com/deepinsight/insightface,
recognition/arcface_torch/configs/glint360k_r100.py): CosFace(64, 0.4), batch 1024, SGD at 0.1 without
warm-up, decayed as (1 - t)^2, weight decay 1e-4. What differs is said in `faces_ms1mv3_r50`; 232 people are
held out.

Expected, cited and not measured here: IJB-C 97.55% at FAR 1e-4 and 96.38% at 1e-5, MFR-ALL 89.52% (the
same repository, recognition/arcface_torch/README.md, "Performance on IJB-C and ICCV2021-MFR", table 1).
For the time: their log of this network with batch 4096 on 16 GPUs has 5,000 images a second, 19 hours
(github.com/anxiangsir/insightface_arcface_log, glint360k_r100_lr02_bs4k_16gpus).

Memory of each of N = 8 devices, by formula. Classifier, its rows divided: weights, momentum and gradient,
3 * 4 bytes * 512 * 360,064 / N = 277 MB. Network, the same on all: 3 * 4 bytes * 65.2 million = 782 MB.
What the backward pass reads of the forward: 254 MB an image (the residuals of `jax.vjp`, most of them
float32 inputs of BatchNorm), 32.5 GB for 128; the compiler may keep fewer. With `--accumulation 2` half of
that. Logits would be 4 bytes * 1024 * 360,064 / N = 184 MB, but are made a tile at a time.
"""

from jaxcv.data import DisjointIdentities, RecordIO
from jaxcv.image import Normalize, RandomHorizontalFlip
from jaxcv.losses import CosFace
from jaxcv.models import EmbeddingClassifier, IResNet
from jaxcv.tasks import FaceRecognition
from jaxcv.train import (
    SGD,
    Experiment,
    Keep,
    Optimizer,
    Polynomial,
)

ACCELERATORS = 8

PEOPLE = 360_000


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=DisjointIdentities(data=RecordIO(root="glint360k"), test_identities=232),
        model=EmbeddingClassifier(
            backbone=IResNet(depth=100, dtype="bfloat16"),
            num_classes=PEOPLE,
            flip_test=True,
        ),
        task=FaceRecognition(num_classes=PEOPLE, margin=CosFace(scale=64.0, margin=0.4)),
        optimizer=Optimizer(
            learning_rate=0.1,
            algorithm=SGD(momentum=0.9, weight_decay=1e-4),
            schedule=Polynomial(power=2.0),
            clip_norm=5.0,
        ),
        batch_size=1024,
        epochs=20,
        augment=(RandomHorizontalFlip(),),
        preprocess=(Normalize(mean=(0.5,), std=(0.5,)),),
        eval_batch_size=1024,
        checkpoint_every=5000,
        log_every=100,
        keep=Keep(last=2, best="test/true_accept_rate_at_far_0.001"),
    )
