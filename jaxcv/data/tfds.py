"""TensorFlow Datasets, read from array_record files without TensorFlow."""

import dataclasses
import difflib
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS, DecodeError
from jaxcv.data.fit import Fit, Size, View, convert_channels, view_image
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import Record, Source, Split, check_split
from jaxcv.data.tfds_splits import check_splits_apart
from jaxcv.data.view import DECODE_MARGIN

_CHUNK = 512
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def data_directory(data_dir: str | None = None) -> pathlib.Path:
    """Where prepared data are: the argument, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(chosen).expanduser()


def prepared(data_dir: str | None = None) -> dict[str, list[pathlib.Path]]:
    """Prepared data sets: `name` or `name/config` -> version folders, the newest last."""
    found: dict[str, list[pathlib.Path]] = {}
    root = data_directory(data_dir)
    for top in root.iterdir() if root.is_dir() else ():
        if top.name == "downloads":  # TFDS keeps raw files there, sometimes a million of them.
            continue
        for info in (*top.glob("*/dataset_info.json"), *top.glob("*/*/dataset_info.json")):
            folder = info.parent
            if _VERSION.fullmatch(folder.name):
                found.setdefault(folder.parent.relative_to(root).as_posix(), []).append(folder)
    for folders in found.values():
        folders.sort(key=lambda f: tuple(map(int, f.name.split("."))))
    return dict(sorted(found.items()))


def find_prepared(name: str, data_dir: str | None = None) -> pathlib.Path:
    """The folder of a prepared data set.

    Args:
      name: `name`, `name:version`, `name/config` or `name/config:version`; without a version the
        newest.
      data_dir: see `data_directory`.

    Raises:
      ValueError: it is not prepared, or there is no data set of that name; the message suggests the
        nearest names and says what to run.
    """
    base, _, version = name.partition(":")
    here = prepared(data_dir)
    where = data_directory(data_dir)
    if base in here:
        for folder in reversed(here[base]):
            if version in ("", folder.name):
                return folder
        versions = ", ".join(folder.name for folder in here[base])
        raise ValueError(
            f"data set {base!r} has no version {version!r} in {where}; found {versions}"
        )
    configs = [n for n in here if n.startswith(base + "/")]
    if configs:
        raise ValueError(
            f"data set {base!r} needs a configuration; prepared are {', '.join(configs)}"
        )
    raise unknown_data_set(base, data_dir) or ValueError(
        f"data set {base!r} is not prepared in {where}; run `jaxcv data prepare {name}` "
        "(or set TFDS_DATA_DIR or data_dir to where it is)"
    )


def feature_names(name: str, data_dir: str | None = None) -> tuple[str, ...]:
    """What a record of a prepared data set holds, by the names of its features; sorted."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(os.fspath(find_prepared(name, data_dir)))
    return tuple(sorted(builder.info.features))


def unknown_data_set(base: str, data_dir: str | None = None) -> ValueError | None:
    """The error for a name that TFDS does not know, with the nearest names; None if it does."""
    here, known = prepared(data_dir), _registered()
    if base.split("/")[0] in known:
        return None
    nearest = dict.fromkeys(difflib.get_close_matches(base, [*here, *known], 3))
    hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
    return ValueError(
        f"there is no data set {base!r}.{hint} Prepared in {data_directory(data_dir)}: "
        f"{', '.join(here) or 'none'}"
    )


@functools.cache
def _registered() -> tuple[str, ...]:
    import tensorflow_datasets as tfds

    return tuple(tfds.list_builders(with_community_datasets=False))


class TFDSSource:
    """One split of a prepared data set."""

    # None where a label is no scalar.
    _label_dtype: Any = None
    # Label by text, where the data set stores names.
    _number: dict[str, int] | None = None
    # Labels that lie in the image need it whole, before both are fitted.
    _label_in_image = False

    def __init__(self, dataset: "TFDS", split: str):
        import tensorflow_datasets as tfds

        self._dataset, self._split = dataset, split
        self.random_resized_crop = dataset.random_resized_crop
        builder = tfds.builder_from_directory(
            os.fspath(find_prepared(dataset.name, dataset.data_dir))
        )
        self._name = f"{builder.info.name}:{builder.info.version} {split}"
        splits = builder.info.splits.items()
        self._splits = repr(sorted((k, s.num_bytes, list(s.shard_lengths)) for k, s in splits))
        features = dict(builder.info.features)
        for key in (dataset.image_key, dataset.label_key):
            if key not in features:
                raise ValueError(
                    f"data set {dataset.name!r} has no feature {key!r}; "
                    f"it has {', '.join(sorted(features))}"
                )
        image, label = features[dataset.image_key], features[dataset.label_key]
        self._encoded = isinstance(image, tfds.features.Image)
        if not self._encoded and (len(image.shape or ()) != 3 or image.np_dtype != np.uint8):
            raise ValueError(
                f"feature {dataset.image_key!r} of {dataset.name!r} is not an image: {image}"
            )
        self.image_reader = ImageReader(
            size=dataset.size,
            fit=dataset.fit,
            channels=dataset.channels or (1 if image.shape[-1] == 1 else 3),
            max_pixels=dataset.max_pixels,
            decode_margin=None if self._label_in_image else dataset.decode_margin,
        )
        self.class_names: tuple[str, ...] = ()
        self._open_label(tfds, label)
        self._records = _data_source(tfds, builder, dataset, split)

    def _open_label(self, tfds: Any, label: Any) -> None:
        """Takes what is to be known of the label's feature; ValueError if it is of another kind."""
        dataset = self._dataset
        if isinstance(label, tfds.features.Text):
            folder = find_prepared(dataset.name, dataset.data_dir)
            self.class_names = _texts(folder, dataset.label_key)
            self._number = {name: i for i, name in enumerate(self.class_names)}
            self._label_dtype = np.int32
            return
        if label.shape != () or not np.issubdtype(label.np_dtype, np.number):
            is_map = isinstance(label, tfds.features.Image)
            others = " (label maps are read by TFDSSegmentation)" if is_map else ""
            if isinstance(label, tfds.features.Sequence):
                others = " (sequences of objects are read by TFDSDetection)"
            raise ValueError(
                f"feature {dataset.label_key!r} of {dataset.name!r} is not a class or a number: "
                f"{label}{others}"
            )
        if isinstance(label, tfds.features.ClassLabel):
            self.class_names = tuple(map(label.int2str, range(label.num_classes)))
        integer = np.issubdtype(label.np_dtype, np.integer)
        wide = label.np_dtype == np.float64
        self._label_dtype = np.int32 if integer else np.float64 if wide else np.float32

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._record(index, self._stored(index))

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        """Many records at once, which array_record reads some 30 times faster than one by one."""
        return [self._record(index, stored) for index, stored in self._stored_many(indices)]

    def read_views(
        self, indices: Sequence[int], views: Sequence[View], target: tuple[int, int]
    ) -> list[Record]:
        """Records of which only what a view shows is scaled, to `target`."""
        return [
            {"image": self._seen(index, stored, view, target), "label": self._label(index, stored)}
            for (index, stored), view in zip(self._stored_many(indices), views)
        ]

    def _stored(self, index: int) -> dict[str, Any]:
        try:
            return self._records[index]
        except IndexError:
            raise
        except Exception as error:
            # array_record raises ValueError or RuntimeError, depending on what is damaged.
            raise DecodeError(
                self.record_name(index),
                f"cannot be read from its shard ({error}); prepare the data set again",
            ) from error

    def _stored_many(self, indices: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            stored = self._records.__getitems__(indices)
        except Exception:  # `_stored` finds the one at fault and names it.
            stored = map(self._stored, indices)
        return zip(indices, stored)

    def _record(self, index: int, stored: dict[str, Any]) -> Record:
        image = stored[self._dataset.image_key]
        if self._encoded:
            image = self.image_reader.decode(image, self.record_name(index))
        else:
            image = self.image_reader.fit_pixels(image)
        return {"image": image, "label": self._label(index, stored)}

    def _label(self, index: int, stored: dict[str, Any]) -> np.int32 | np.float32 | np.float64:
        label = stored[self._dataset.label_key]
        if self._number is not None:
            return np.int32(self._number[_text(label)])
        number = np.asarray(label)
        if self._label_dtype is np.int32 and not -(2**31) <= number < 2**31:
            raise ValueError(
                f"{self.record_name(index)}: label {number} does not fit 32 bits; number the classes "
                "from 0"
            )
        return self._label_dtype(number)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """[N] int32, float32 or float64, label of each record; reads all records once, decodes no image."""
        if self._label_dtype is None:
            raise ValueError(f"{self._name}: there is no single label in each record")
        labels = [self._label(i, stored) for i, stored in enumerate(_stored(self._records))]
        return np.asarray(labels, self._label_dtype)

    def _image(self, index: int, stored: dict[str, Any]) -> np.ndarray:
        """The decoded image uint8 [H, W, C], at its own size."""
        image = stored[self._dataset.image_key]
        if not self._encoded:
            return convert_channels(image, self.image_reader.channels)
        return self.image_reader.decode_whole(image, self.record_name(index))

    def _seen(
        self, index: int, stored: dict[str, Any], view: View, target: tuple[int, int]
    ) -> np.ndarray:
        """What a view shows of the image, uint8 [*target, C]."""
        image = stored[self._dataset.image_key]
        if not self._encoded:
            return view_image(convert_channels(image, self.image_reader.channels), view, target)
        return self.image_reader.decode_view(image, view, target, self.record_name(index))

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """What TFDS wrote about the splits when it prepared them: records and bytes of each shard."""
        return {"splits": np.frombuffer(self._splits.encode(), np.uint8)}

    def record_name(self, index: int) -> str:
        """`name:version split[index]`."""
        return f"{self._name}[{index}]"


def _stored(records: Any) -> Iterator[dict[str, Any]]:
    """Every record as it is stored, read some hundred at once."""
    for start in range(0, len(records), _CHUNK):
        yield from records.__getitems__(list(range(start, min(start + _CHUNK, len(records)))))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@functools.cache
def _texts(folder: pathlib.Path, key: str) -> tuple[str, ...]:
    """The different texts of a feature over all splits, sorted: names of the classes.

    Over all, so that slices of a split number them alike. Read once in a process.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(os.fspath(folder))
    source = TFDS(name=builder.info.name, label_key=key)
    texts: set[str] = set()
    count = 0
    for split in builder.info.splits:
        for stored in _stored(_data_source(tfds, builder, source, split)):
            texts.add(_text(stored[key]))
            count += 1
    if len(texts) == count:
        raise ValueError(
            f"feature {key!r} of {builder.info.name!r} is not a class or a number: it is a text that "
            f"is another in each of {count} records"
        )
    return tuple(sorted(texts))


def _data_source(tfds: Any, builder: Any, dataset: "TFDS", split: str) -> Any:
    """The records of one split, with every image left encoded."""
    images = [k for k, f in builder.info.features.items() if isinstance(f, tfds.features.Image)]
    decoders = {key: tfds.decode.SkipDecoding() for key in images}
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError:
        raise ValueError(
            f"data set {dataset.name!r} is stored as {builder.info.file_format.value} in "
            f"{builder.data_dir}, which only TensorFlow reads; prepare it as array_record in "
            f"another data_dir: `jaxcv data prepare {dataset.name}`"
        ) from None
    except (ValueError, KeyError) as error:
        sizes = ", ".join(f"{k} ({v.num_examples})" for k, v in builder.info.splits.items())
        raise ValueError(
            f"data set {dataset.name!r} has no split {split!r}: it has {sizes}; "
            f"slices are written train[:80%] ({str(error).splitlines()[0]})"
        ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFDS:
    """A data set of TensorFlow Datasets, prepared as array_record (`jaxcv data prepare NAME`).

    Attributes:
      name: `name`, `name:version`, `name/config` or `name/config:version`.
      train_split: TFDS split, slices included: `train[:90%]`.
      test_split: the split to evaluate on; it has no record of `train_split`.
      validation_split: the split to choose settings on, where it is asked for; likewise.
      data_dir: folder of prepared data sets; None means $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      image_key: name of the feature that holds the image.
      label_key: name of the feature that holds the label: a class, a text that names one (as the
        people of `lfw`; numbered in the order of the names), or a number for regression.
      size: resize to this size, see `fit_image`; None needs images of one size.
      fit: how to resize.
      channels: 1, 3, or None for what the data set declares.
      max_pixels: larger images raise, see `decode_image`.
      decode_margin: how far a JPEG may be scaled down while it is decoded, see `jaxcv.data.view`;
        None decodes it whole.
      random_resized_crop: a random resized crop of each training image; None shows them by `fit`.
    """

    name: str
    train_split: str = "train"
    test_split: str = "test"
    validation_split: str = "validation"
    data_dir: str | None = None
    image_key: str = "image"
    label_key: str = "label"
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] | None = None
    max_pixels: int = MAX_PIXELS
    decode_margin: float | None = DECODE_MARGIN
    random_resized_crop: DecodeRandomResizedCrop | None = None

    def open(self, split: Split) -> Source:
        """Opens a split; records are read when asked for."""
        check_split(split, self.name, ("train", "validation", "test"))
        if self.random_resized_crop is not None:
            if type(self) is not TFDS:
                raise ValueError(
                    f"random_resized_crop cuts images of one label; {type(self).__name__} has labels "
                    "that lie in the image: cut both on the device, by augment"
                )
            if split != "train":
                return dataclasses.replace(self, random_resized_crop=None).open(split)
        names = (self.train_split, self.validation_split, self.test_split)
        chosen = dict(zip(("train", "validation", "test"), names))[split]
        source = self._source(chosen)
        if split != "train":
            folder = find_prepared(self.name, self.data_dir)
            check_splits_apart(folder, self.name, self.train_split, chosen)
        return source

    def _source(self, split: str) -> TFDSSource:
        return TFDSSource(self, split)
