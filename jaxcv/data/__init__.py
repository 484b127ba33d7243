"""Sources of records (TFDS, folders, CSV, arrays, synthetic) and the batches drawn from them."""

from jaxcv.data.arrays import NPZ, Arrays, Digits
from jaxcv.data.batches import Batches, permutation
from jaxcv.data.csv_table import CSV
from jaxcv.data.decode import DecodeError, decode_image
from jaxcv.data.files import Folder
from jaxcv.data.fit import fit_image
from jaxcv.data.preparation import prepare
from jaxcv.data.reader import RecordReader, TooManyBadRecordsError
from jaxcv.data.resident import gather, materialize, resident_bytes
from jaxcv.data.sheet import contact_sheet
from jaxcv.data.source import Dataset, Source, SourceView, Split, stratified_split
from jaxcv.data.synthetic import Synthetic
from jaxcv.data.tfds import TFDS, prepared

__all__ = [
    "CSV",
    "NPZ",
    "TFDS",
    "Arrays",
    "Batches",
    "Dataset",
    "DecodeError",
    "Digits",
    "Folder",
    "RecordReader",
    "Source",
    "SourceView",
    "Split",
    "Synthetic",
    "TooManyBadRecordsError",
    "contact_sheet",
    "decode_image",
    "fit_image",
    "gather",
    "materialize",
    "permutation",
    "prepare",
    "prepared",
    "resident_bytes",
    "stratified_split",
]
