"""Networks that give a class to every pixel, each over any backbone."""

from jaxcv.models.segmentation.decoder import Decoder, Outputs
from jaxcv.models.segmentation.deeplab import DeepLabV3Plus
from jaxcv.models.segmentation.fpn import FPN
from jaxcv.models.segmentation.pspnet import PSPNet
from jaxcv.models.segmentation.unet import UNet
from jaxcv.models.upsampling import (
    LogitHead,
    Upsample,
    Upsampling,
    cut_to,
    pixel_shuffle,
    upsample_bilinear,
    upsample_nearest,
)

__all__ = [
    "FPN",
    "Decoder",
    "DeepLabV3Plus",
    "LogitHead",
    "Outputs",
    "PSPNet",
    "UNet",
    "Upsample",
    "Upsampling",
    "cut_to",
    "pixel_shuffle",
    "upsample_bilinear",
    "upsample_nearest",
]
