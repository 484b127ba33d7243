"""U-Net on Oxford-IIIT Pet at 128x128, from scratch: pet, background and the border between.

    python -m jaxcv train pets_unet --workdir runs/pets_unet

Data: `jaxcv data prepare oxford_iiit_pet` (3,680 training and 3,669 test images, 800 MB to download). Made
for one accelerator; it has not been run to its end by this project.
"""

from jaxcv.data import PETS, TFDSSegmentation
from jaxcv.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    Normalize,
    RandomHorizontalFlip,
    RandomScaleCrop,
)
from jaxcv.models import ConvBackbone, UNet
from jaxcv.tasks import CrossEntropy, Dice, Segmentation, Sum
from jaxcv.train import (
    AdamW,
    Cosine,
    Experiment,
    Keep,
    Optimizer,
)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=TFDSSegmentation(
            name="oxford_iiit_pet",
            label_key="segmentation_mask",
            class_names=PETS.class_names,
            class_values=PETS.class_values,
            # Some files have an alpha channel, or are grey: three channels of all.
            channels=3,
            size=(128, 128),
            fit="pad",
        ),
        model=UNet(
            num_classes=3,
            backbone=ConvBackbone(widths=(32, 64, 128, 256)),
            widths=(128, 64, 32),
        ),
        # Dice evens out how much of a picture the pet takes up.
        task=Segmentation(num_classes=3, objective=Sum((CrossEntropy(), 1.0), (Dice(), 0.5))),
        optimizer=Optimizer(
            learning_rate=2e-3,
            algorithm=AdamW(weight_decay=0.02),
            schedule=Cosine(warmup_steps=200),
            clip_norm=1.0,
        ),
        batch_size=32,
        epochs=60,
        augment=(
            RandomHorizontalFlip(),
            RandomScaleCrop(size=(128, 128), scale=(0.75, 1.5)),
            ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        ),
        preprocess=(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),),
        ema_decay=0.999,
        eval_batch_size=128,
        keep=Keep(last=2, best="test_ema/mean_iou"),
    )
