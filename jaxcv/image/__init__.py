"""Augmentation and geometry: pure functions on arrays, under `jit` and `vmap`, on any device.

An image is `[..., H, W, C]`, uint8 in [0, 255] or floating point in [0, 1], and comes back in its
own dtype (`pixels` has the rule). There are three kinds of things here:

- functions, `adjust_contrast(image, factor)`, on images with any leading axes;
- random transforms, frozen dataclasses called `(key, image) -> image` on one image, for a training
  configuration: `apply_sequence((RandomCrop(padding=4), RandomHorizontalFlip()), key, image)`;
- steps that are the same for every image, frozen dataclasses called `(image) -> image`:
  `Normalize()`.

`Mixup` and `CutMix` take a whole batch, `(key, images, labels) -> (images, labels)`; so does
`Mosaic`, with boxes. The training step asks them for no more than `Mixing` says.

Boxes on images have functions of their own: overlap (`iou_matrix`), codings relative to anchors
(`DeltaCoding`), non-maximum suppression (`select_detections`).
"""

from jaxcv.image.alignment import FACE_TEMPLATE, align_face, face_template, similarity_matrix
from jaxcv.image.alternation import (
    AlternatingHorizontalFlip,
    AlternatingTransform,
    transforms_at_visit,
)
from jaxcv.image.annotations import (
    IGNORE_LABEL,
    AnnotationRules,
    transform_boxes,
    transform_points,
    transform_sample,
)
from jaxcv.image.box_coding import BoxCoding, DeltaCoding, DistanceCoding
from jaxcv.image.boxes import (
    box_area,
    box_centers,
    box_sizes,
    boxes_from_cxcywh,
    boxes_from_xywh,
    boxes_to_cxcywh,
    boxes_to_xywh,
    clip_boxes,
    giou_matrix,
    intersection_matrix,
    iou_matrix,
    overlap_matrix,
)
from jaxcv.image.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grayscale,
)
from jaxcv.image.composition import RandomApply, Transform, apply_sequence
from jaxcv.image.detections import select_detections
from jaxcv.image.filtering import adjust_sharpness, gaussian_blur, gaussian_noise
from jaxcv.image.geometry import (
    PaddingMode,
    ResizeMethod,
    center_crop,
    crop,
    flip_horizontal,
    flip_vertical,
    pad,
    resize,
)
from jaxcv.image.mixing import CutMix, Mixing, Mixup
from jaxcv.image.mosaic import Mosaic
from jaxcv.image.nms import nms, soft_nms
from jaxcv.image.pixels import Size, to_float
from jaxcv.image.policies import RandAugment, Strengths, TrivialAugment
from jaxcv.image.preprocess import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    Normalize,
    Resize,
)
from jaxcv.image.random_color import ColorJitter, GaussianBlur, GaussianNoise, RandomGrayscale
from jaxcv.image.random_crop import RandomCrop, RandomResizedCrop, RandomScaleCrop
from jaxcv.image.random_erasing import Cutout, RandomErasing
from jaxcv.image.random_geometry import (
    GeometricTransform,
    RandomAffine,
    RandomHorizontalFlip,
    RandomRotation,
    RandomTranslation,
    RandomVerticalFlip,
)
from jaxcv.image.tone import autocontrast, equalize, invert, posterize, solarize
from jaxcv.image.warping import (
    Interpolation,
    about_center,
    affine,
    affine_matrix,
    compose,
    flip_matrix,
    inverse_matrix,
    rotate,
    rotation_matrix,
    scaling_matrix,
    shear_matrix,
    translate,
    translation_matrix,
    warp,
)

__all__ = [
    "FACE_TEMPLATE",
    "IGNORE_LABEL",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AlternatingHorizontalFlip",
    "AlternatingTransform",
    "AnnotationRules",
    "BoxCoding",
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "DeltaCoding",
    "DistanceCoding",
    "GaussianBlur",
    "GaussianNoise",
    "GeometricTransform",
    "Interpolation",
    "Mixing",
    "Mixup",
    "Mosaic",
    "Normalize",
    "PaddingMode",
    "RandAugment",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomScaleCrop",
    "RandomTranslation",
    "RandomVerticalFlip",
    "Resize",
    "ResizeMethod",
    "Size",
    "Strengths",
    "Transform",
    "TrivialAugment",
    "about_center",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "affine_matrix",
    "align_face",
    "apply_sequence",
    "autocontrast",
    "box_area",
    "box_centers",
    "box_sizes",
    "boxes_from_cxcywh",
    "boxes_from_xywh",
    "boxes_to_cxcywh",
    "boxes_to_xywh",
    "center_crop",
    "clip_boxes",
    "compose",
    "crop",
    "equalize",
    "face_template",
    "flip_horizontal",
    "flip_matrix",
    "flip_vertical",
    "gaussian_blur",
    "gaussian_noise",
    "giou_matrix",
    "grayscale",
    "intersection_matrix",
    "inverse_matrix",
    "invert",
    "iou_matrix",
    "nms",
    "overlap_matrix",
    "pad",
    "posterize",
    "resize",
    "rotate",
    "rotation_matrix",
    "scaling_matrix",
    "select_detections",
    "shear_matrix",
    "similarity_matrix",
    "soft_nms",
    "solarize",
    "to_float",
    "transform_boxes",
    "transform_points",
    "transform_sample",
    "transforms_at_visit",
    "translate",
    "translation_matrix",
    "warp",
]
