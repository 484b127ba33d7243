"""FCOS on generated squares, circles and triangles at 96x96: detection in minutes, without any data.

    python -m jaxcv train shapes_fcos --workdir runs/shapes_fcos

Time and result on two CPU cores: see the README.
"""

from jaxcv.data import Shapes
from jaxcv.image import Normalize, RandomHorizontalFlip
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.tasks import Detection
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Optimizer,
)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=Shapes(),
        model=FCOS(
            num_classes=3,
            backbone=ConvBackbone(widths=(16, 32, 64), patch=2),
            strides=(4, 8),
            width=48,
            convolutions=1,
        ),
        task=Detection(num_classes=3),
        optimizer=Optimizer(
            learning_rate=4e-3,
            algorithm=AdamW(weight_decay=0.01),
            schedule=Cosine(warmup_steps=50),
            clip_norm=5.0,
        ),
        batch_size=32,
        steps=220,
        augment=(RandomHorizontalFlip(),),
        preprocess=(Normalize(),),
        eval_batch_size=64,
        eval_every=220,
    )
