"""IResNet-100 with CosFace on WebFace42M: 2,059,906 people, 42 million faces, a fifth of the people a step.

    python -m jaxcv train faces_webface42m_r100_pfc --workdir runs/webface42m --data.data.root PATH

and on two hosts of 8 devices, with `--processes 2 --process 0` on HOST and `--process 1` on the other,

    python scripts/multihost.py --coordinator HOST:1234 --processes 2 --process 0 -- train \
        faces_webface42m_r100_pfc --workdir SHARED/webface42m --data.data.root PATH

PATH is a folder with train.rec, train.idx and property, made from WebFace42M (Zhu et al. 2021) as
InsightFace's docs/prepare_webface42m.md tells. For 8 accelerators of 40 GB or more; it has not been run by
this project.

Recipe: InsightFace's configuration for this network and data (github.com/deepinsight/insightface,
recognition/arcface_torch/configs/wf42m_pfc02_r100.py): CosFace(64, 0.4) over a sample of 20% of the classes
(Partial FC, An et al. 2022, arXiv:2203.15565), batch 1024, SGD at 0.1 without warm-up, decayed as
(1 - t)^2, weight decay 5e-4. What differs is said in `faces_ms1mv3_r50`; 906 people are held out.

Expected, cited and not measured here: IJB-C 97.70% at FAR 1e-4 and 96.31% at 1e-5, MFR-ALL 96.27% (the
same repository, recognition/arcface_torch/README.md, "Performance on IJB-C and ICCV2021-MFR", table 1). For
the time: their log with batch 4096 on 16 GPUs has 5,500 images a second, 43 hours
(github.com/anxiangsir/insightface_arcface_log, webface42m_r100_bs4k_pfc02).

Memory of each of N = 8 devices, by formula. Classifier, its rows divided: weights, momentum and gradient,
3 * 4 bytes * 512 * 2,059,008 / N = 1.58 GB, and for the sampled rows and their gradient 2 * 4 bytes * 512 *
0.2 * 2,059,008 / N = 211 MB. Network, the same on all: 3 * 4 bytes * 65.2 million = 782 MB. What the
backward pass reads of the forward: 254 MB an image (the residuals of `jax.vjp`, most of them float32 inputs
of BatchNorm), 32.5 GB for 128; the compiler may keep fewer. With `--accumulation 2` half of that. Logits
would be 4 bytes * 1024 * 0.2 * 2,059,008 / N = 211 MB, but are made a tile at a time; so
`--task.sampling-rate 1` asks for time, not for memory.
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

PEOPLE = 2_059_000


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=DisjointIdentities(data=RecordIO(root="webface42m"), test_identities=906),
        model=EmbeddingClassifier(
            backbone=IResNet(depth=100, dtype="bfloat16"),
            num_classes=PEOPLE,
            flip_test=True,
        ),
        task=FaceRecognition(
            num_classes=PEOPLE,
            margin=CosFace(scale=64.0, margin=0.4),
            sampling_rate=0.2,
        ),
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
