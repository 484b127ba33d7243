"""What a command needs of its process: streams, signals, and an end that nothing delays."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from jaxcv.signals import end_on_signals, end_within_grace


def prepare_process() -> None:
    """Streams that are open and signals that end the process; the sooner the better."""
    _open_standard_streams()
    end_on_signals()


def run_as_process(command: Callable[[], int], *, one_arena: bool = False) -> NoReturn:
    """Runs a command as the whole process, and ends with its status, whatever it has left behind.

    Args:
        command: returns the exit status.
        one_arena: see `use_large_pages`.
    """
    from jaxcv.convolution.large_pages import use_large_pages

    prepare_process()
    use_large_pages(one_arena=one_arena)
    status = 1
    try:
        status = command()
        sys.stdout.flush()
    except OSError as error:
        # The last lines went nowhere, or the first where `command` does not look.
        if nobody_reads(error):
            status = 128 + signal.SIGPIPE
        else:
            status = status or 1
            with contextlib.suppress(OSError):
                print(f"jaxcv: {error}", file=sys.stderr, flush=True)
    except SystemExit as exit:  # tyro and argparse end a process themselves
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise
    finally:
        if status:
            end_within_grace(status)
            _drop_output()
    sys.exit(status)


def nobody_reads(error: BaseException) -> bool:
    """Whether an error says that the reader of the output has gone, as `head` does after ten lines."""
    return isinstance(error, BrokenPipeError) and error.filename is None


def _open_standard_streams() -> None:
    """Makes sure that no file gets the number of a stream that was closed, and what is printed with it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)


def _drop_output() -> None:
    """So that Python, which writes the rest at its end, does not complain about a reader that has gone."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
