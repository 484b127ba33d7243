"""`batches[step]`: the data position as a pure function of (seed, step)."""

import math
import threading
from collections.abc import Iterator

import numpy as np

from jaxcv.data.order import permutation
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.reader import OnBadRecord, RecordReader, Spec
from jaxcv.data.samplers import Order, Sampler
from jaxcv.data.source import Source

Batch = dict[str, np.ndarray]
# A training stream without an end: this many steps are more than any run takes.
_ENDLESS = 2**40


class Batches:
    """The batches of a source, by step.

    Training (`shuffle=True`) is an endless stream: row j of step s is at g = s * batch_size + j of
    the stream, in epoch g // N, and is record permutation(seed, epoch)[g mod N]. Batches straddle
    epochs; every record comes exactly once an epoch. Evaluation (`shuffle=False`) is one pass in
    order; the last batch is filled up with rows of zeros whose mask is False.

    A `sampler` chooses the records of training batches otherwise: `BalancedIdentities`, say.

    Where the source has a `random_resized_crop`, a training batch shows of each image a rectangle that
    depends on seed, step and row, and on the image's size: `DecodeRandomResizedCrop.views`.

    Nothing depends on what was read before, so a run may be resumed at any step, on any number of
    hosts.

    Args:
      source: the records.
      batch_size: rows of the global batch, B.
      multiple_of: every batch is padded, with rows whose mask is False, to a number of rows that this
        divides: the number of devices.
      shuffle: True for training, False for evaluation.
      seed: of the order, at least 0; without effect on evaluation.
      num_threads: batches that `stream` prepares at the same time.
      prefetch: batches that `stream` keeps ready.
      num_classes: see `RecordReader`.
      ignore_label: see `RecordReader`.
      on_bad_record: `raise`, or `skip`: a record that cannot be decoded becomes a row of zeros with
        mask False.
      max_bad_records: with `skip`, maximum number of distinct ones before an error.
      sampler: chooses the records of each batch, for training only; None: every record once an
        epoch, in random order.
      label_offset: see `RecordReader`.

    Raises:
      ValueError: a setting is out of range, or does not suit the sampler.

    Example:
      >>> from jaxcv.data import Digits
      >>> batches = Batches(Digits().open("train"), 32, shuffle=True, seed=1)
      >>> batches[1000]["image"].shape
      (32, 8, 8, 1)
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        shuffle: bool,
        multiple_of: int = 1,
        seed: int = 0,
        num_threads: int = 4,
        prefetch: int = 4,
        num_classes: int | None = None,
        ignore_label: int | None = None,
        on_bad_record: OnBadRecord = "raise",
        max_bad_records: int = 100,
        sampler: Sampler | None = None,
        label_offset: float = 0.0,
    ):
        if len(source) == 0:
            raise ValueError("the source holds no records")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if multiple_of < 1:
            raise ValueError(f"multiple_of must be at least 1, not {multiple_of}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, not {seed}")
        self.source, self.batch_size = source, batch_size
        self.rows = -(-batch_size // multiple_of) * multiple_of
        self.shuffle, self.seed = shuffle, seed
        self.num_threads, self.prefetch = num_threads, prefetch
        # Of a training set only; evaluation sees the same of an image every time.
        self.rectangle: DecodeRandomResizedCrop | None = (
            getattr(source, "random_resized_crop", None) if shuffle else None
        )
        self.reader = RecordReader(
            source,
            num_classes=num_classes,
            ignore_label=ignore_label,
            on_bad_record=on_bad_record,
            max_bad_records=max_bad_records,
            rectangle=self.rectangle,
            label_offset=label_offset,
        )
        self._order: Order | None = None
        if sampler is not None:
            if not shuffle:
                raise ValueError("a sampler is for training: shuffle must be True")
            self._order = sampler.order(source, batch_size, seed)
        self._permutations: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    @property
    def num_examples(self) -> int:
        """Records in the source, N."""
        return len(self.source)

    @property
    def steps_per_epoch(self) -> int:
        """ceil(N / B): the length of an evaluation, and of an epoch of training, rounded up; with a
        sampler, as many records as there are.
        """
        return math.ceil(len(self.source) / self.batch_size)

    @property
    def sampled(self) -> bool:
        """Whether a sampler chooses the records of each batch."""
        return self._order is not None

    @property
    def spec(self) -> Spec:
        """Shape (without B) and dtype of each key of a batch but `mask`. Reads one record."""
        return self.reader.spec

    @property
    def bad_records(self) -> dict[str, str]:
        """Reason by name of every record skipped so far."""
        return self.reader.bad_records

    def __len__(self) -> int:
        if self.shuffle:
            raise TypeError("a training stream has no length; see steps_per_epoch")
        return self.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        return self.local(step)

    def __iter__(self) -> Iterator[Batch]:
        return self.stream(0)

    def indices(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Which records make up a batch, for gathering from arrays kept on the device.

        Returns:
          (indices, mask): int32 [R] positions in the source (0 in padding), bool [R] False in
          padding, with R = `rows`, the batch size rounded up to `multiple_of`.

        Raises:
          IndexError: `step` is negative, or past the end of an evaluation.
        """
        length, size = len(self.source), self.batch_size
        if step < 0 or (not self.shuffle and step >= self.steps_per_epoch):
            raise IndexError(f"there is no step {step}; an evaluation has {self.steps_per_epoch}")
        start, stop = step * size, (step + 1) * size
        if self._order is not None:
            chosen = self._order.indices(step)
        elif self.shuffle:
            chosen = self._shuffled(start, stop)
        else:
            chosen = np.arange(start, min(stop, length))
        indices = np.zeros(self.rows, np.int32)
        indices[: len(chosen)] = chosen
        return indices, np.arange(self.rows) < len(chosen)

    def index_table(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`indices` of `count` steps in a row, stacked: int32 [count, R] and bool [count, R].

        Of a shuffled stream at a fraction of the time per step.
        """
        if not self.shuffle or self._order is not None or start < 0:
            steps = [self.indices(step) for step in range(start, start + count)]
            return np.stack([i for i, _ in steps]), np.stack([m for _, m in steps])
        chosen = self._shuffled(start * self.batch_size, (start + count) * self.batch_size)
        indices = np.zeros((count, self.rows), np.int32)
        indices[:, : self.batch_size] = chosen.reshape(count, self.batch_size)
        return indices, np.tile(np.arange(self.rows) < self.batch_size, (count, 1))

    def epoch_table(self, start: int, count: int) -> np.ndarray:
        """How many passes over the records went before each row of `count` steps in a row.

        int32 [count, R]; 0 in padding and in evaluation.
        """
        if not self.shuffle:
            return np.zeros((count, self.rows), np.int32)
        row = np.arange(self.rows)
        places = np.arange(start, start + count)[:, None] * self.batch_size + row
        epochs = np.where(row < self.batch_size, places // len(self.source), 0)
        return epochs.astype(np.int32)

    def origins(self, step: int) -> dict[str, np.ndarray]:
        """Where the rows of a batch come from: `record`, int32 [R], as `indices` has them, and
        `epoch`, int32 [R], as `epoch_table` has it.
        """
        return {"record": self.indices(step)[0], "epoch": self.epoch_table(step, 1)[0]}

    def local(self, step: int, process_index: int = 0, process_count: int = 1) -> Batch:
        """Rows of one host of global batch `step`: an equal, contiguous part in the order of the
        hosts.

        Raises:
          ValueError: the batch size cannot be shared out equally.
        """
        if self.rows % process_count:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared equally by {process_count} hosts; "
                f"choose a multiple of {process_count}, or multiple_of={process_count}"
            )
        count = self.rows // process_count
        rows = slice(process_index * count, (process_index + 1) * count)
        indices, mask = self.indices(step)
        views = None
        if self.rectangle is not None:
            views = self.rectangle.views(self.seed, step, self.rows)[rows]
        return self.reader.read(indices[rows], mask[rows], views)

    def stream(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Batches `start` to `stop` in order, prepared ahead by threads (grain); equal to
        `local(step)`.

        Args:
          start: first step.
          stop: step after the last; None goes on to the end of an evaluation, or for ever in
          training.
          process_index: this host.
          process_count: number of hosts.
        """
        import grain

        if stop is None:
            stop = _ENDLESS if self.shuffle else self.steps_per_epoch
        if stop <= start:
            return
        steps = grain.MapDataset.range(start, stop)
        data = steps.map(lambda step: self.local(step, process_index, process_count))
        options = grain.ReadOptions(
            num_threads=self.num_threads, prefetch_buffer_size=max(self.prefetch, self.num_threads)
        )
        yield from data.to_iter_dataset(options)

    def _shuffled(self, start: int, stop: int) -> np.ndarray:
        """Records `start` to `stop` of the training stream."""
        length = len(self.source)
        pieces = []
        for epoch in range(start // length, (stop - 1) // length + 1):
            first = max(start - epoch * length, 0)
            last = min(stop - epoch * length, length)
            pieces.append(self._permutation(epoch)[first:last])
        return np.concatenate(pieces)

    def _permutation(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._permutations:
                # A batch looks at one epoch or two neighbours; threads run only a little ahead.
                while len(self._permutations) >= 2:
                    self._permutations.pop(min(self._permutations))
                self._permutations[epoch] = permutation(self.seed, epoch, len(self.source))
            return self._permutations[epoch]
