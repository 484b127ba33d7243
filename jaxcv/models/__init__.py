"""Models: Flax Linen modules, channels last, one family per file.

Every model is called as `model.apply(variables, images, train=..., mask=...)` with float images
[B, H, W, C] and returns float32 outputs: [B, num_classes], for segmentation [B, H, W,
num_classes], for detection `DetectionOutputs`. Parameters are float32; `dtype` is the dtype it computes in.
"""

from typing import Any

from jaxcv.models.backbone import Backbone
from jaxcv.models.conv_backbone import ConvBackbone
from jaxcv.models.detection import FCOS, DetectionOutputs, RetinaNet
from jaxcv.models.embedding import EmbeddingClassifier, EmbeddingOutputs
from jaxcv.models.face_cnn import FaceCNN
from jaxcv.models.face_embedder import FaceEmbedder
from jaxcv.models.feature_pyramid import FeaturePyramid
from jaxcv.models.inputs import ComputeDtype
from jaxcv.models.iresnet import IResNet
from jaxcv.models.lenet import LeNet
from jaxcv.models.mlp import MLP
from jaxcv.models.mobile_face_net import MobileFaceNet
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.patch_whitening import PatchWhitening
from jaxcv.models.prelu import PReLU
from jaxcv.models.resnet import ResNet, ResNetBackbone
from jaxcv.models.segmentation import FPN, DeepLabV3Plus, PSPNet, UNet
from jaxcv.models.small_cnn import SmallCNN
from jaxcv.models.speed_net import SpeedNet
from jaxcv.models.test_time_augmentation import TestTimeAugmentation
from jaxcv.models.wide_resnet import WideResNet
from jaxcv.renamed import earlier_name

__all__ = [
    "FCOS",
    "FPN",
    "MLP",
    "Backbone",
    "BatchNorm",
    "ComputeDtype",
    "ConvBackbone",
    "DeepLabV3Plus",
    "DetectionOutputs",
    "EmbeddingClassifier",
    "EmbeddingOutputs",
    "FaceCNN",
    "FaceEmbedder",
    "FeaturePyramid",
    "IResNet",
    "LeNet",
    "MobileFaceNet",
    "PReLU",
    "PSPNet",
    "PatchWhitening",
    "ResNet",
    "ResNetBackbone",
    "RetinaNet",
    "SmallCNN",
    "SpeedNet",
    "TestTimeAugmentation",
    "UNet",
    "WideResNet",
]

_EARLIER = {
    "AveragedViews": "jaxcv.models.TestTimeAugmentation",
}


def __getattr__(name: str) -> Any:
    return earlier_name(__name__, name, _EARLIER)
