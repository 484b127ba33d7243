"""What a run says: metrics.jsonl, TensorBoard events, and a progress line."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jaxcv.atomic import write_text
from jaxcv.json_file import json_text
from jaxcv.train.task import Headline

Row = dict[str, Any]
# TensorBoard itself looks for news only every 30 seconds.
_FLUSH_SECONDS = 10.0
# Of the bar on a terminal, which costs a millisecond.
_REFRESH_SECONDS = 0.2


def read_rows(path: Path) -> list[Row]:
    """Reads metrics.jsonl; a last line that a kill cut short is left out, and null is read as NaN.

    Raises:
        ValueError: another line is damaged; the message says which.
    """
    try:
        *lines, cut_short = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = [_row(line) for line in lines]
    if None in rows:
        raise ValueError(
            f"{path} is damaged: line {rows.index(None) + 1} is no row of a run's metrics; delete that "
            "line, and the run goes on without it"
        )
    return [row for row in (*rows, _row(cut_short)) if row is not None]


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and type(row.get("step")) is int and type(row.get("split")) is str
    return _numbers(row) if whole else None


def _numbers(row: Row) -> Row:
    """A row as it is read from the file, where NaN and infinity are both null."""
    missing = (None, math.inf, -math.inf)
    return {name: math.nan if value in missing else value for name, value in row.items()}


def rows_until(workdir: Path, step: int) -> list[Row]:
    """The rows of a work directory's metrics.jsonl that are not beyond a step."""
    return [row for row in read_rows(workdir / "metrics.jsonl") if row["step"] <= step]


class MetricLog:
    """Appends rows {"step", "split", name: number, ...} to metrics.jsonl and to TensorBoard.

    Of several processes the first writes; the others only remember.

    Args:
        workdir: where metrics.jsonl and tensorboard/ lie.
        step: rows after this step, left by a run that was killed, are removed.
        evaluated: False removes those of the evaluation of this step too: it is made again.
    """

    def __init__(self, workdir: Path, step: int, *, evaluated: bool = True) -> None:
        self.rows = [
            row
            for row in rows_until(workdir, step)
            if evaluated or row["step"] < step or row["split"] == "train"
        ]
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self._path = workdir / "metrics.jsonl"
        self._open()
        self._directory, self._step = workdir / "tensorboard", step
        self._flushed = time.monotonic()

    def _open(self) -> None:
        write_text(self._path, "".join(json_text(row) + "\n" for row in self.rows))
        self._file = self._path.open("a")

    def write(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Writes one row; TensorBoard gets those of its values that are finite numbers."""
        row = _numbers({"step": step, "split": split, **values})
        self.rows.append(row)
        if not self._writes:
            return
        if self._is_in_place():
            self._file.write(json_text(row) + "\n")
            self._file.flush()
        else:  # deleted or replaced by somebody: all rows are still known here
            self._file.close()
            self._open()
        self._write_event(step, split, values)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def sync(self) -> None:
        """Waits until all rows have reached the medium: a checkpoint that is saved then is not without."""
        if self._writes:
            os.fsync(self._file.fileno())

    def _write_event(self, step: int, split: str, values: dict[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        # One event for the row, written here: `SummaryWriter` makes one for each value, and hands them
        # through a queue to a thread, which takes ten times as long.
        numbers = [
            Summary.Value(tag=f"{split}/{name}", simple_value=value)
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        self._events.write_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=numbers))
        )
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._events.flush()
            self._flushed = time.monotonic()

    @functools.cached_property
    def _events(self) -> Any:
        # With the first row, while the devices are busy: the import alone takes up to seconds, since it
        # looks for PyTorch.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._directory.mkdir(exist_ok=True)
        events = EventsWriter(str(self._directory / "events"))
        # TensorBoard forgets what an earlier start left beyond this step.
        start = SessionLog(status=SessionLog.START)
        events.write_event(Event(wall_time=time.time(), step=self._step + 1, session_log=start))
        return events

    def close(self) -> None:
        """Flushes both."""
        if self._writes:
            self._file.close()
            if "_events" in self.__dict__:
                self._events.close()


def _rate(images_per_second: float) -> list[str]:
    known = math.isfinite(images_per_second)
    return [f"{images_per_second:,.0f} images/s"] if known else []


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich's own ends the process here, unsaved."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class ProgressLine:
    """A live bar on a terminal; elsewhere a plain line per logged row.

    Args:
        total_steps: length of the run.
        step: where it starts.
        images_per_step: global batch size.
        headlines: the task's; of those that training rows have, the loss and the first are shown.

    Attributes:
        failure: what went wrong when something was last shown: a terminal that was closed, a pipe whose
            reader has gone, a full disk. Nothing more is shown then.
    """

    def __init__(
        self,
        total_steps: int,
        step: int,
        images_per_step: int,
        headlines: Sequence[Headline] = (),
    ) -> None:
        self._total, self._step, self._images_per_step = total_steps, step, images_per_step
        self._names = ["loss", *(h.name for h in headlines if h.name not in ("loss", "count"))]
        self.failure: OSError | None = None
        self._first: int | None = None  # where the clock started
        self._started = self._seconds = 0.0
        self._console = _Console(
            file=sys.stderr,
            quiet=jax.process_index() > 0,
            force_jupyter=False,  # plain lines in a notebook, not a block of HTML for each
        )
        self._bar: Progress | None = None
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self._console,
                auto_refresh=False,  # by a thread, where nobody would hear of an error
            )
            self._task = self._bar.add_task("train", total=total_steps, completed=step, status="")
            self._refreshed = 0.0
            with self._showing():
                self._bar.start()

    def step(self, step: int, metrics: Any) -> None:
        """Notes that a dispatch has been made. The first one compiles, so the clock starts after it."""
        self._step = step
        if self._first is None:
            jax.block_until_ready(metrics)
            self._first, self._started = step, time.perf_counter()
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
            if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
                self._refresh()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within, the clock stands still: evaluating and saving is no training time."""
        running = self._first is not None
        if running:
            self._seconds += time.perf_counter() - self._started
        try:
            yield
        finally:
            if running:
                self._started = time.perf_counter()

    @property
    def images_per_second(self) -> float:
        """Mean since the first step; NaN before there is one to measure."""
        seconds = self._seconds + time.perf_counter() - self._started
        steps = self._step - (self._first or self._step)
        return steps * self._images_per_step / seconds if steps else math.nan

    def speed(self) -> Row:
        """Gives {"images_per_second": ...}, or {} before there is anything to measure."""
        speed = self.images_per_second
        return {"images_per_second": speed} if math.isfinite(speed) else {}

    def show(self, row: Row) -> None:
        """Shows the step, its loss and first headline, images per second, and the time left.

        What is not known yet, such as the speed of the first step, is left out.
        """
        speed = self.images_per_second
        status = "  ".join([*self._status(row), *_rate(speed)])
        if self._bar is not None:
            self._bar.update(self._task, status=status)
            self._refresh()
            return
        left = (self._total - self._step) * self._images_per_step / speed
        eta = f"{left:.0f} s left" if math.isfinite(left) else ""
        self.say(f"step {self._step}/{self._total}  {status}  {eta}".rstrip())

    def _status(self, row: Row) -> list[str]:
        skipped = int(row.get("skipped", 0))
        if skipped and not math.isfinite(row.get("loss", math.nan)):
            return [f"no loss: all {skipped} updates were skipped, none was finite"]
        shown = [f"{name} {row[name]:.4g}" for name in self._names if name in row][:2]
        return [*shown, *([f"{skipped} updates skipped"] if skipped else [])]

    def say(self, text: str) -> None:
        """Prints a line without disturbing the bar."""
        with self._showing():
            if self.failure is not None or self._console.quiet:
                return
            if self._bar is not None:
                self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
            else:
                # A plain line needs nothing of the console's, which takes longer.
                print(text, file=self._console.file, flush=True)

    def _refresh(self) -> None:
        self._refreshed = time.monotonic()
        if self._bar is not None and self.failure is None:
            with self._showing():
                self._bar.refresh()

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """Within, output that fails is noted, and ends nothing: the run saves first."""
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            with self._showing():
                self._bar.stop()
