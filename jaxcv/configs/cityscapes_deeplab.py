"""DeepLabV3+ over ResNet-50 on Cityscapes at 2048x1024: bfloat16, polynomial decay, a second head.

    python -m jaxcv train cityscapes_deeplab --workdir runs/cityscapes_deeplab

Data: TFDS `cityscapes/semantic_segmentation` (2,975 training and 500 validation images), prepared as
array_record by `jaxcv data prepare`; its archives must be fetched by hand. For 8 accelerators or more, of
32 GB; it has not been run by this project, and it starts from scratch. For orientation: with a pretrained
Xception DeepLabV3+ is published with a mean IoU of 82.1% on the test set (Chen et al. 2018,
arXiv:1802.02611, abstract).

Large images in windows: `jaxcv predict RUN IMAGE ... --window 512 1024`.
"""

from jaxcv.data import CITYSCAPES, TFDSSegmentation
from jaxcv.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    Normalize,
    RandomHorizontalFlip,
    RandomScaleCrop,
)
from jaxcv.models import DeepLabV3Plus, ResNetBackbone
from jaxcv.tasks import HardPixels, Segmentation
from jaxcv.train import (
    SGD,
    Experiment,
    Keep,
    Optimizer,
    Polynomial,
)

ACCELERATORS = 8


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=TFDSSegmentation(
            name="cityscapes/semantic_segmentation",
            image_key="image_left",
            class_names=CITYSCAPES.class_names,
            class_values=CITYSCAPES.class_values,
            ignore_values=CITYSCAPES.ignore_values,
            test_split="validation",
        ),
        model=DeepLabV3Plus(
            num_classes=19,
            backbone=ResNetBackbone(depth=50, output_stride=16, dtype="bfloat16"),
            dropout=0.1,
            auxiliary_stride=16,
        ),
        # Edges of two megapixels are slow to compare; the loss keeps to the harder half of them.
        task=Segmentation(
            num_classes=19, objective=HardPixels(fraction=0.5), boundary_tolerance=None
        ),
        optimizer=Optimizer(
            learning_rate=0.01,
            algorithm=SGD(momentum=0.9, weight_decay=5e-4),
            schedule=Polynomial(power=0.9, warmup_steps=1000),
        ),
        batch_size=16,
        steps=90_000,
        augment=(
            RandomHorizontalFlip(),
            RandomScaleCrop(size=(1024, 2048), scale=(0.5, 2.0)),
            ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        ),
        preprocess=(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),),
        eval_batch_size=16,
        eval_every=3000,
        log_every=100,
        keep=Keep(last=2, best="test/mean_iou"),
    )
