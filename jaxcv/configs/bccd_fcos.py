"""FCOS on BCCD at 320x240, from scratch: blood cells in microscope photos on two CPU cores.

    python -m jaxcv train bccd_fcos --workdir runs/bccd_fcos

Data: `bccd` as a prepared TFDS set with the splits train (205), val (87) and test (72), boxes of red and
white blood cells and of platelets. With the data set's own folders (BCCD/Annotations/*.xml,
BCCD/JPEGImages, BCCD/ImageSets/Main), `VOCDetection` reads them in a copy of this preset. Time and
result: see the README.
"""

from jaxcv.data import TFDSDetection
from jaxcv.image import (
    ColorJitter,
    Normalize,
    RandomHorizontalFlip,
    RandomScaleCrop,
    RandomVerticalFlip,
)
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.tasks import Detection
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Optimizer,
)

SIZE = (240, 320)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        # None of the 364 images is turned by EXIF: `boxes_on` says nothing here but what runs before its
        # default was "stored" have in their config.json.
        data=TFDSDetection(
            name="bccd", validation_split="val", size=SIZE, max_boxes=40, boxes_on="upright"
        ),
        model=FCOS(
            num_classes=3,
            # Patches of 2x2 pixels: a quarter of the positions in the first stage.
            backbone=ConvBackbone(widths=(16, 32, 64, 128), patch=2),
            # A platelet is about 20 pixels wide here, a white cell about 100.
            strides=(8, 16),
            width=64,
            convolutions=2,
        ),
        # Cells cut in half are marked in BCCD too, slivers are not.
        task=Detection(num_classes=3, min_visibility=0.3),
        optimizer=Optimizer(
            learning_rate=2e-3,
            algorithm=AdamW(weight_decay=0.05),
            schedule=Cosine(warmup_steps=100),
            clip_norm=5.0,
        ),
        batch_size=8,
        steps=1200,
        augment=(
            RandomHorizontalFlip(),
            RandomVerticalFlip(),
            RandomScaleCrop(size=SIZE, scale=(0.8, 1.4)),
            ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ),
        preprocess=(Normalize(mean=(0.66, 0.64, 0.67), std=(0.25, 0.25, 0.25)),),
        ema_decay=0.996,
        eval_batch_size=24,
        eval_every=600,
    )
