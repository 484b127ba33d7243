"""IResNet-50 with ArcFace on MS1MV3: 93,431 people, 5.2 million faces of 112x112, 20 epochs.

    python -m jaxcv train faces_ms1mv3_r50 --workdir runs/ms1mv3_r50 --data.data.root PATH

PATH is the folder of InsightFace's "ms1m-retinaface-t1": train.rec, train.idx and property. For 8
accelerators of 32 GB; it has not been run by this project.

Recipe: that of InsightFace's log for this network and data (github.com/anxiangsir/insightface_arcface_log,
ms1mv3_r50): ArcFace(64, 0.5), batch 1024, SGD at 0.1 without warm-up, decayed as (1 - t)^2, weight decay
5e-4. Four things differ. bfloat16 for float16, which needs no loss scaling. BatchNorm takes the statistics
of all devices. The gradient is clipped to 5 with the classifier's part in the norm, where InsightFace clips
the network's alone. And 431 people are held out, so that every evaluation is of people never seen.

Expected, cited and not measured here: IJB-C 96.37% at FAR 1e-4 and 94.47% at 1e-5, MFR-ALL 79.14%
(github.com/deepinsight/insightface, recognition/arcface_torch/README.md, "Performance on IJB-C and
ICCV2021-MFR", table 1). That log has 5,600 images a second on 8 GPUs: 5.1 hours.

Memory of each of N = 8 devices, by formula. Classifier, its rows divided: weights, momentum and gradient,
3 * 4 bytes * 512 * 93,056 / N = 71 MB. Network, the same on all: 3 * 4 bytes * 43.6 million = 523 MB. What
the backward pass reads of the forward: 160 MB an image (the residuals of `jax.vjp`, most of them float32
inputs of BatchNorm), 20.5 GB for 128; the compiler may keep fewer. With `--accumulation 2` half of that.
Logits would be 4 bytes * 1024 * 93,056 / N = 48 MB, but are made a tile at a time.
"""

from jaxcv.data import DisjointIdentities, RecordIO
from jaxcv.image import Normalize, RandomHorizontalFlip
from jaxcv.losses import ArcFace
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

PEOPLE = 93_000


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=DisjointIdentities(data=RecordIO(root="ms1m-retinaface-t1"), test_identities=431),
        model=EmbeddingClassifier(
            backbone=IResNet(depth=50, dtype="bfloat16"),
            num_classes=PEOPLE,
            flip_test=True,
        ),
        task=FaceRecognition(num_classes=PEOPLE, margin=ArcFace(scale=64.0, margin=0.5)),
        optimizer=Optimizer(
            learning_rate=0.1,
            algorithm=SGD(momentum=0.9, weight_decay=5e-4),
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
