"""Reading records as batches need them: one shape, labels in range, bad records named."""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxcv.arguments import check_choice
from jaxcv.data.bad_records import with_others
from jaxcv.data.decode import DecodeError
from jaxcv.data.fit import View
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import Record, Source
from jaxcv.names import printable

logger = logging.getLogger(__name__)

OnBadRecord = Literal["raise", "skip"]
# Shape and dtype of every key of a record.
Spec = dict[str, tuple[tuple[int, ...], np.dtype]]


class TooManyBadRecordsError(ValueError):
    """More undecodable records were skipped than `max_bad_records` allows."""


class RecordReader:
    """Reads records of a source, checks each, and stands in for bad ones by the chosen policy.

    Args:
      source: where the records come from.
      num_classes: integer labels must lie in [0, num_classes); None takes the number of the
        source's class names, and where there are none, labels are not checked.
      ignore_label: the one label outside that range that is allowed, as in label maps, or None.
      on_bad_record: `raise` raises its `DecodeError`, which names others too; `skip` puts zeros with
        mask False in its place.
      max_bad_records: with `skip`, maximum number of distinct bad records before
        `TooManyBadRecordsError`.
      rectangle: what of each image is read, by the views that `read` is given; None reads records
        as they are.
      label_offset: taken off each label, in float64, before it is rounded to float32: of large labels
        that differ by little float32 keeps only what is left. 0 leaves labels as they are, but for
        float64, which becomes float32.

    Attributes:
      bad_records: reason by name of every record skipped so far.
    """

    def __init__(
        self,
        source: Source,
        *,
        num_classes: int | None = None,
        ignore_label: int | None = None,
        on_bad_record: OnBadRecord = "raise",
        max_bad_records: int = 100,
        rectangle: DecodeRandomResizedCrop | None = None,
        label_offset: float = 0.0,
    ):
        check_choice("on_bad_record", on_bad_record, ("raise", "skip"))
        if len(source) == 0:
            raise ValueError("the source holds no records")
        self.source, self.rectangle = source, rectangle
        self.num_classes = len(source.class_names) if num_classes is None else num_classes
        self.ignore_label, self.label_offset = ignore_label, label_offset
        self.on_bad_record, self.max_bad_records = on_bad_record, max_bad_records
        self.bad_records: dict[str, str] = {}
        self._spec: Spec | None = None
        self._spec_name = ""
        self._lock = threading.Lock()

    @property
    def spec(self) -> Spec:
        """Shape and dtype of each key in a batch, taken from the first record that can be read."""
        spec = dict(self._record_spec)
        if "label" in spec and self._is_moved(spec["label"][1]):
            spec["label"] = (spec["label"][0], np.dtype(np.float32))
        return spec

    def _is_moved(self, dtype: np.dtype) -> bool:
        """Whether labels of a dtype become others in a batch."""
        return self.label_offset != 0 or dtype == np.float64

    @property
    def _record_spec(self) -> Spec:
        if self._spec is None:
            views = self.rectangle.views(0, 0, 1) if self.rectangle is not None else None
            for index in range(len(self.source)):
                (record,) = self._read_many([index], views)
                if record is not None:
                    spec = {k: (np.shape(v), np.asarray(v).dtype) for k, v in record.items()}
                    self._spec_name, self._spec = self.source.record_name(index), spec
                    break
            else:
                raise TooManyBadRecordsError(f"none of {len(self.source)} records can be read")
        return self._spec

    def read(
        self, indices: np.ndarray, mask: np.ndarray, views: Sequence[View] | None = None
    ) -> dict[str, np.ndarray]:
        """Reads records into arrays.

        Args:
          indices: int [B], positions in the source.
          mask: bool [B]; where False nothing is read and the row is zeros.
          views: [B] what of each image is shown, where the reader has a rectangle.

        Returns:
          Every key stacked to [B, ...], and `mask` bool [B], False for padding and for skipped
          records.

        Raises:
          DecodeError: a record is bad, with on_bad_record='raise'.
          TooManyBadRecordsError: too many are, with on_bad_record='skip'.
          ValueError: a label is out of range, or a record's shape differs; the record is named.
        """
        spec = self._record_spec
        batch = {k: np.zeros((len(mask), *shape), dtype) for k, (shape, dtype) in spec.items()}
        batch["mask"] = np.zeros(len(mask), bool)
        rows = np.flatnonzero(mask)
        wanted = [int(indices[row]) for row in rows]
        shown = None if views is None else [views[row] for row in rows.tolist()]
        for row, index, record in zip(rows, wanted, self._read_many(wanted, shown)):
            if record is None:
                continue
            self._check_shapes(index, record)
            for key in spec:
                batch[key][row] = record[key]
            batch["mask"][row] = True
        if "label" in batch and self._is_moved(batch["label"].dtype):
            moved = batch["label"].astype(np.float64) - self.label_offset
            moved[~batch["mask"]] = 0
            batch["label"] = moved.astype(np.float32)
        return batch

    def _read_many(
        self, indices: list[int], views: Sequence[View] | None = None
    ) -> list[Record | None]:
        """One by one, or at once where the source can; None where a bad record is skipped."""
        if indices and (views is not None or hasattr(self.source, "__getitems__")):
            try:
                records = self._records(indices, views)
            except DecodeError:
                pass  # One by one below, to find and count every bad one.
            else:
                for index, record in zip(indices, records):
                    self._check_label(index, record)
                return list(records)
        if views is None:
            return [self._read_one(index) for index in indices]
        return [self._read_one(index, view) for index, view in zip(indices, views)]

    def _records(self, indices: list[int], views: Sequence[View] | None) -> list[Record]:
        source: Any = self.source
        if views is None:
            return source.__getitems__(indices)
        assert self.rectangle is not None
        return source.read_views(indices, views, self.rectangle.size)

    def _read_one(self, index: int, view: View | None = None) -> Record | None:
        try:
            record = self.source[index] if view is None else self._records([index], [view])[0]
        except DecodeError as error:
            if self.on_bad_record == "raise":
                raise with_others(self.source, index, error) from error
            self._count_bad(self.source.record_name(index), error.reason)
            return None
        self._check_label(index, record)
        return record

    def _count_bad(self, name: str, reason: str) -> None:
        with self._lock:
            if name not in self.bad_records:
                logger.warning("skipped %s: %s", printable(name), printable(reason))
            self.bad_records[name] = reason
            count = len(self.bad_records)
        if count > self.max_bad_records:
            raise TooManyBadRecordsError(
                f"{count} records cannot be read, more than max_bad_records="
                f"{self.max_bad_records}; the last one is {name}: {reason}"
            )

    def _check_label(self, index: int, record: Record) -> None:
        """Labels, one or a map of them, and the classes of boxes, whose padding is -1."""
        if "label" in record:
            self._check_range(index, np.asarray(record["label"]), "label", self.ignore_label)
        if "classes" in record:
            self._check_range(index, np.asarray(record["classes"]), "class", -1)

    def _check_range(self, index: int, label: np.ndarray, name: str, ignored: int | None) -> None:
        if label.dtype.kind == "f":
            if not np.isfinite(label).all():
                raise ValueError(f"{self.source.record_name(index)}: {name} {label} is not finite")
            return
        limits = np.iinfo(np.int32)
        if not self.num_classes:  # A device would cut them to 32 bits, to another class.
            bad = (label < limits.min) | (label > limits.max)
            if bad.any():
                raise ValueError(
                    f"{self.source.record_name(index)}: {name} {label[bad].flat[0]} does not fit 32 bits"
                )
            return
        bad = (label < 0) | (label >= self.num_classes)
        if ignored is not None:
            bad &= label != ignored
        if bad.any():
            where = ""
            if label.ndim:
                place = ", ".join(map(str, np.argwhere(bad)[0].tolist()))
                where = f" at [{place}] ({bad.sum()} of {bad.size}; ignored is {ignored})"
            value = label[bad].flat[0]
            say = "; classes are numbered from 0, and a record without one must be left out"
            raise ValueError(
                f"{self.source.record_name(index)}: {name} {value}{where} is outside "
                f"[0, {self.num_classes}), the range of {self.num_classes} classes"
                f"{say if value < 0 and not label.ndim else ''}"
            )

    def _check_shapes(self, index: int, record: Record) -> None:
        for key, (shape, dtype) in self._record_spec.items():
            found = np.asarray(record[key])
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(
                    f"{self.source.record_name(index)}: {key} is {found.dtype} {found.shape}, but "
                    f"{self._spec_name} has {dtype} {shape}; give the data set a size (such as "
                    "size=224) to bring all images to one shape"
                )
