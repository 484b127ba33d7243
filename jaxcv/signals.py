"""Signals: a command ends at once, a run saves first, and neither goes unheard.

Python runs its handlers between two bytecodes of the main thread. While a large program is compiled that
may take minutes; an exception that a handler raises inside a callback of JAX is printed and forgotten, and
one inside the import of a compiled module may crash. So a process that is one command has a thread that
hears of each signal when it arrives, and ends the process there and then, unless a run has said that it
has something to save. Files are whole at any moment (`jaxcv.atomic`), so that nothing else is lost.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

# What an orderly end may take after a failure.
GRACE_SECONDS = 2.0

# A closed terminal sends SIGHUP, which Windows does not have.
_HANGUP = getattr(signal, "SIGHUP", None)
# Set while a run saves before it obeys.
_deferring = threading.Event()
_undos: list[Callable[[], None]] = []


@contextmanager
def undone_at_end(undo: Callable[[], None]) -> Iterator[None]:
    """Within, a signal that ends the process at once calls `undo` first, in another thread."""
    _undos.append(undo)
    try:
        yield
    finally:
        _undos.remove(undo)


def _endings() -> list[int]:
    """The signals that end a process; SIGHUP not under `nohup`, which ignores it."""
    hangup = [] if _HANGUP is None or signal.getsignal(_HANGUP) == signal.SIG_IGN else [_HANGUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def end_on_signals() -> None:
    """From here on the signals end this process at once, with status 128 + number.

    For the main thread of a process that is one command. A second call does nothing.
    """
    numbers = _endings()
    if signal.getsignal(signal.SIGINT) is _leave_to_watcher:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in numbers:
        signal.signal(number, _leave_to_watcher)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, numbers), name="signals", daemon=True).start()


def _leave_to_watcher(number: int, frame: FrameType | None) -> None:
    """Does nothing more in the main thread: the watcher has heard of the signal already."""
    while not _deferring.is_set():
        time.sleep(0.01)


def _watch(reader: int, numbers: list[int]) -> None:
    deferred = False
    while heard := os.read(reader, 1):
        number = heard[0]
        if number not in numbers:
            continue
        if _deferring.is_set() and not (deferred and number == signal.SIGINT):
            deferred = True
            continue
        for undo in list(_undos):
            with suppress(Exception):
                undo()
        os._exit(128 + number)


def end_within_grace(status: int) -> None:
    """Ends this process with a status after `GRACE_SECONDS`, should anything keep it until then.

    After a failure nothing may: neither a thread that waits for what will never come, nor other hosts.
    """
    timer = threading.Timer(GRACE_SECONDS, os._exit, [status])
    timer.daemon = True
    timer.start()


class NotedSignals:
    """Notes the signals that arrive within its context, so that a run can save before it obeys.

    Until `defer`, SIGINT also raises KeyboardInterrupt, as everywhere; where a callback swallows that, the
    note is still there. From then on the first signal is noted only, and a second SIGINT raises. Where the
    process is one command, see `end_on_signals`, it ends at once instead of raising. Outside the main
    thread, where Python allows no handlers, signals stay as they are.

    Attributes:
        received: numbers of the signals, in order.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> NotedSignals:
        if signal.getsignal(signal.SIGINT) is not _leave_to_watcher:
            self._handle([signal.SIGINT], self._note_and_raise)
        return self

    def defer(self) -> None:
        """From here on there is something to save."""
        if threading.current_thread() is threading.main_thread() and not _deferring.is_set():
            self._handle(_endings(), self._note)
            _deferring.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _deferring.clear()
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if error is None and self.received:
            raise KeyboardInterrupt  # swallowed before, and nobody has looked at the note

    def _handle(self, numbers: list[int], handler: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in numbers:
            before = signal.signal(number, handler)
            self._previous.setdefault(number, before)

    def _note_and_raise(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if number == signal.SIGINT and len(self.received) > 1:
            raise KeyboardInterrupt
