"""U-Net on CamVid at 160x120, from scratch: street scenes into 11 classes on two CPU cores.

    python -m jaxcv train camvid_unet --workdir runs/camvid_unet

Data: `camvid` as a prepared TFDS set with the splits train (367), val (101) and test (233) and masks of
the 11 classes of SegNet's tutorial, 11 for unlabelled. Time and result: see the README. For orientation:
SegNet, its encoder pretrained and at 480x360, is published with a mean IoU of 60.1% (Badrinarayanan et
al. 2017, table 3).
"""

from jaxcv.data import CAMVID, TFDSSegmentation
from jaxcv.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    Normalize,
    RandomHorizontalFlip,
    RandomScaleCrop,
)
from jaxcv.models import ConvBackbone, UNet
from jaxcv.tasks import CrossEntropy, Segmentation
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Optimizer,
)

# Roots of the ratios of median to own frequency (Eigen & Fergus 2015) in the training masks: thin and
# rare classes count more, but not so much that they are seen everywhere.
CLASS_WEIGHTS = (0.53, 0.45, 2.19, 0.39, 1.0, 0.65, 1.96, 1.4, 0.89, 2.52, 2.98)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=TFDSSegmentation(
            name="camvid",
            class_names=CAMVID.class_names,
            ignore_values=CAMVID.ignore_values,
            validation_split="val",
            size=(120, 160),
        ),
        model=UNet(
            num_classes=11,
            # Patches of 2x2 pixels: the finest features have a quarter of the positions.
            backbone=ConvBackbone(widths=(24, 48, 96, 128), patch=2),
            widths=(64, 48, 24),
            convolutions=1,
        ),
        task=Segmentation(num_classes=11, objective=CrossEntropy(class_weights=CLASS_WEIGHTS)),
        optimizer=Optimizer(
            learning_rate=3e-3,
            algorithm=AdamW(weight_decay=0.02),
            schedule=Cosine(warmup_steps=100),
            clip_norm=1.0,
        ),
        batch_size=8,
        steps=2400,
        augment=(
            RandomHorizontalFlip(),
            RandomScaleCrop(size=(120, 160), scale=(0.75, 1.75)),
            ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        ),
        preprocess=(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),),
        ema_decay=0.998,
        eval_batch_size=32,
        eval_every=1200,
    )
