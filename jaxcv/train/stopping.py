"""How a run ends before its last step: asked to, cut off from those who watch it, or by an error."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.errors import Interrupted, OutputError
from jaxcv.lock import LockError, WorkdirLock
from jaxcv.train.agreement import on_first
from jaxcv.train.window import NonFiniteError

# Above the numbers of all signals.
_ERRNO = 1000
# What a terminal that was closed answers to who writes to it.
_HUNG_UP = (errno.EIO, errno.ENXIO, errno.EBADF)


class RunLock:
    """`WorkdirLock` for all processes of a run: the first holds it, and the others stop where it does.

    Args:
        workdir: the work directory.
    """

    def __init__(self, workdir: Path) -> None:
        self._lock = WorkdirLock(workdir)

    def __enter__(self) -> RunLock:
        on_first(self._take_if_there)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _take_if_there(self) -> None:
        if self._lock.directory.is_dir():
            self._lock.take()

    def take(self) -> None:
        """Takes the lock, and makes the work directory; see `WorkdirLock`. A call for all processes."""
        on_first(self._lock.take)

    def check(self) -> None:
        """Makes sure that the work directory is still this run's. A call for all processes."""
        on_first(self._lock.check)


def agreed_stop(received: Sequence[int], failure: OSError | None, at_log_row: bool) -> int:
    """Why all processes stop at this step: 0 for not at all, else a code for `stopped`.

    One process decides for itself at any step. Several ask one another, which takes time, so only
    where a row is logged: one that stopped alone would leave the others waiting for ever.

    Args:
        received: numbers of the signals that have arrived.
        failure: what went wrong when something was last shown.
        at_log_row: whether a row is logged at this step.
    """
    mine = received[0] if received else _code(failure)
    if jax.process_count() == 1:
        return mine
    if not at_log_row:
        return 0
    return int(multihost_utils.process_allgather(np.int32(mine)).max())


def _code(failure: OSError | None) -> int:
    if failure is None:
        return 0
    if failure.errno == errno.EPIPE:
        return int(signal.SIGPIPE)
    if failure.errno in _HUNG_UP:
        return int(signal.SIGHUP)
    return _ERRNO + (failure.errno or 0)


def stopped(code: int, step: int) -> Exception:
    """The error that ends a run, saved at a step, for a code of `agreed_stop`."""
    return Interrupted(code, step) if code < _ERRNO else OutputError(code - _ERRNO, step)


@contextmanager
def saving_before_errors(save: Callable[[], None]) -> Iterator[None]:
    """Where an error ends the body, saves first what has been reached.

    Not after those that say that there is nothing to save, or that it is saved. An error in saving is
    not shown: the first one says what to mend. Several processes cannot save when one of them fails.
    """
    try:
        yield
    except (NonFiniteError, Interrupted, OutputError, LockError):
        raise
    except Exception:
        if jax.process_count() == 1:
            with suppress(Exception):
                save()
        raise
