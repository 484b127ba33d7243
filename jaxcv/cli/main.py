"""The command line: `python -m jaxcv COMMAND ...`.

This module only finds the command and shows errors; the others of `jaxcv.cli` import JAX and do the
work, so that `--help` answers at once.
"""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jaxcv.cli.process import nobody_reads, run_as_process
from jaxcv.errors import Interrupted, OutputError, line_in, nearest, one_line, show_log

# By the module of `jaxcv.cli` that holds them: each imports JAX only when its command is called.
_MODULES = {
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "report": "report",
    "data": "data",
    "list": "list",
    "verify": "verify",
    "enroll": "gallery",
    "search": "gallery",
    "remove": "gallery",
    "subjects": "gallery",
}
COMMANDS = tuple(_MODULES)

USAGE = """usage: jaxcv COMMAND ...

  train PRESET --workdir DIR [--FIELD VALUE ...]   train, or go on with a run
  evaluate DIR                                     evaluate a checkpoint of a run
  predict DIR IMAGE [IMAGE ...]                    classify, segment or detect in files, folders, globs
  report DIR                                       write DIR/report.html
  data prepare NAME | data show NAME               prepare a TFDS data set, or draw some of it
  list                                             presets by task, models, data sets

With a run that embeds faces:

  verify DIR IMAGE IMAGE                           do two pictures show the same person?
  evaluate DIR --pairs FILE                        accuracy on lfw.bin, pairs.txt and the like
  enroll GALLERY FOLDER --workdir DIR              add people, a folder of pictures each
  search GALLERY IMAGE [IMAGE ...] --workdir DIR   who of them is it?
  remove GALLERY SUBJECT                           forget somebody
  subjects GALLERY                                 who is enrolled

`jaxcv COMMAND --help` lists the options of a command; `jaxcv train PRESET --help` every field of
the preset. --traceback, anywhere, shows where an error came from.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after the program's name; None takes those of the process.

    Returns:
        The exit status: 0 done, 1 failed, 2 bad input, 128 + N interrupted by signal N: 130 by SIGINT,
        143 by SIGTERM, 129 where the terminal was closed, 141 where nobody reads the output.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from jaxcv import __version__

        print(__version__)
        return 0
    if words[0] == "train" and words[1:2] in ([], ["-h"], ["--help"]):
        from jaxcv.cli.presets import train_usage

        print(train_usage(), end="")
        return 0 if words[1:] else 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    show_log()
    try:
        command = nearest(words[0], COMMANDS, "command")
        module = importlib.import_module(f"jaxcv.cli.{_MODULES[command]}")
        # `list` is a name of Python itself.
        return getattr(module, "list_" if command == "list" else command)(words[1:])
    except KeyboardInterrupt:  # before training has started, or a second time
        return 130
    except Interrupted as error:
        _complain(str(error))
        return 128 + error.signal_number
    except Exception as error:
        if nobody_reads(error):
            return 128 + signal.SIGPIPE
        if traceback:
            raise
        # What a person can mend comes as ValueError or OSError, whose message says how.
        bad_input = isinstance(error, ValueError | OSError)
        kind = "" if bad_input else f"{type(error).__name__}: "
        _complain(f"{kind}{one_line(error)}{_place_in_own_file(error, words)}")
        return 2 if bad_input and not _machine_failed(error) else 1


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # the status says it too
        print(f"jaxcv: {text}", file=sys.stderr, flush=True)


def _place_in_own_file(error: Exception, words: Sequence[str]) -> str:
    """The line of a file of the user's own from which an error came, such as one in its model."""
    for word in words:
        line = line_in(Path(word), error) if word.endswith(".py") else None
        if line is not None:
            return f" ({word}, line {line})"
    return ""


def _machine_failed(error: Exception) -> bool:
    """Whether it was the machine, and not what it was given."""
    numbers = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.ESTALE}
    return isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in numbers)


def launch(*command: str) -> NoReturn:
    """Runs `main` as the whole process: of a command, if it is fixed, and the process's own words."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding must not end a command that prints a name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    run_as_process(lambda: main([*command, *sys.argv[1:]]), one_arena="--onednn" in sys.argv)
