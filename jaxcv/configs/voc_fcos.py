"""FCOS with ResNet-50 on Pascal VOC 2007 and 2012 at 512x512, from scratch.

    python -m jaxcv train voc_fcos --workdir runs/voc_fcos

Data: VOC's own folders, the training and validation images of 2007 and 2012 together in one folder
(16,551 images) with the lists of both put together, tested on the 4,952 test images of 2007:
VOC/JPEGImages, VOC/Annotations, VOC/ImageSets/Main/trainval0712.txt and test2007.txt. TFDS's `voc/2007`
alone: `TFDSDetection(name="voc/2007", train_split="train+validation", size=512)`.

Made for one accelerator of 16 GB or more; it has not been run to its end by this project. Without
pretrained weights, which this project does not have, VOC's 16,551 images take a long schedule, and a
lower accuracy than published for ImageNet-pretrained backbones is to be expected (He, Girshick & Dollár
2019, arXiv:1811.08883, section 5).
"""

from jaxcv.data import VOC, VOCDetection
from jaxcv.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    Mosaic,
    Normalize,
    RandomHorizontalFlip,
    RandomScaleCrop,
)
from jaxcv.models import FCOS, ResNetBackbone
from jaxcv.tasks import Detection
from jaxcv.train import (
    SGD,
    Cosine,
    Experiment,
    Keep,
    Optimizer,
)

SIZE = (512, 512)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=VOCDetection(
            root="VOC",
            class_names=tuple(name.replace(" ", "") for name in VOC.class_names[1:]),
            train_list="ImageSets/Main/trainval0712.txt",
            test_list="ImageSets/Main/test2007.txt",
            size=SIZE,
        ),
        model=FCOS(
            num_classes=20,
            backbone=ResNetBackbone(depth=50, dtype="bfloat16"),
            strides=(8, 16, 32, 64),
        ),
        task=Detection(num_classes=20, iou_threshold=0.5, min_visibility=0.25),
        optimizer=Optimizer(
            learning_rate=0.02,
            algorithm=SGD(momentum=0.9, weight_decay=1e-4),
            schedule=Cosine(warmup_steps=1000),
            clip_norm=10.0,
        ),
        batch_size=32,
        epochs=120,
        augment=(
            RandomHorizontalFlip(),
            RandomScaleCrop(size=SIZE, scale=(0.5, 1.5)),
            ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        ),
        mix=Mosaic(probability=0.5),
        preprocess=(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),),
        ema_decay=0.9998,
        eval_batch_size=64,
        eval_every=5000,
        keep=Keep(last=2, best="test_ema/voc_average_precision_50"),
    )
