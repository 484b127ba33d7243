"""Sources of records (TFDS, folders, CSV, arrays, synthetic) and the batches drawn from them."""

from typing import Any

from jaxcv.data.arrays import NPZ, Arrays, Digits
from jaxcv.data.batches import Batches
from jaxcv.data.csv_table import CSV
from jaxcv.data.decode import DecodeError, decode_image
from jaxcv.data.detection import BoxCounts, COCODetection, Shapes, TFDSDetection, VOCDetection
from jaxcv.data.faces import (
    DisjointIdentities,
    FrequentIdentities,
    ImagesPerIdentity,
    People,
    RecordIO,
    VerificationPairs,
    read_pairs,
    read_verification_bin,
)
from jaxcv.data.files import Folder
from jaxcv.data.fit import fit_image
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.order import BalancedOrder, permutation
from jaxcv.data.preparation import prepare
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.reader import RecordReader, TooManyBadRecordsError
from jaxcv.data.resident import gather, materialize, resident_bytes
from jaxcv.data.samplers import BalancedIdentities, Sampler
from jaxcv.data.segmentation.classes import (
    CAMVID,
    CITYSCAPES,
    PETS,
    VOC,
    SegmentationClasses,
)
from jaxcv.data.segmentation.folder import MaskFolder
from jaxcv.data.segmentation.masks import (
    MaskValues,
    class_colors,
    decode_mask,
    encode_mask,
    fit_mask,
)
from jaxcv.data.segmentation.tfds import TFDSSegmentation
from jaxcv.data.sheet import contact_sheet
from jaxcv.data.source import (
    Dataset,
    Record,
    Source,
    SourceView,
    Split,
    first_record,
    record_labels,
    stratified_split,
)
from jaxcv.data.synthetic import Synthetic
from jaxcv.data.tfds import TFDS, prepared
from jaxcv.renamed import earlier_name

__all__ = [
    "CAMVID",
    "CITYSCAPES",
    "CSV",
    "NPZ",
    "PETS",
    "TFDS",
    "VOC",
    "Arrays",
    "BalancedIdentities",
    "BalancedOrder",
    "Batches",
    "BoxCounts",
    "COCODetection",
    "Dataset",
    "DecodeError",
    "DecodeRandomResizedCrop",
    "Digits",
    "DisjointIdentities",
    "Folder",
    "FrequentIdentities",
    "ImageReader",
    "ImagesPerIdentity",
    "MaskFolder",
    "MaskValues",
    "People",
    "Record",
    "RecordIO",
    "RecordReader",
    "Sampler",
    "SegmentationClasses",
    "Shapes",
    "Source",
    "SourceView",
    "Split",
    "Synthetic",
    "TFDSDetection",
    "TFDSSegmentation",
    "TooManyBadRecordsError",
    "VOCDetection",
    "VerificationPairs",
    "class_colors",
    "contact_sheet",
    "decode_image",
    "decode_mask",
    "encode_mask",
    "first_record",
    "fit_image",
    "fit_mask",
    "gather",
    "materialize",
    "permutation",
    "prepare",
    "prepared",
    "read_pairs",
    "read_verification_bin",
    "record_labels",
    "resident_bytes",
    "stratified_split",
]

_EARLIER = {
    "RandomRectangle": "jaxcv.data.DecodeRandomResizedCrop",
}


def __getattr__(name: str) -> Any:
    return earlier_name(__name__, name, _EARLIER)
