"""The command line: `python -m jaxcv train|evaluate|predict|report|data|list`.

This module only finds the command and shows errors; `jaxcv.commands` imports JAX and does the work,
so that `--help` answers at once.
"""

import logging
import os
import sys
from collections.abc import Sequence

from jaxcv.errors import Interrupted, nearest, one_line

COMMANDS = ("train", "evaluate", "predict", "report", "data", "list")

USAGE = """usage: jaxcv COMMAND ...

  train PRESET --workdir DIR [--FIELD VALUE ...]   train, or go on with a run
  evaluate DIR                                     evaluate a checkpoint of a run
  predict DIR IMAGE [IMAGE ...]                    classify image files, folders or globs
  report DIR                                       write DIR/report.html
  data prepare NAME | data show NAME               prepare a TFDS data set, or draw some of it
  list                                             presets, models, data sets

`jaxcv COMMAND --help` lists the options of a command; `jaxcv train PRESET --help` every field of
the preset. --traceback, anywhere, shows where an error came from.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after the program's name; None takes those of the process.

    Returns:
        The exit status: 0 done, 1 failed, 2 bad input, 130 and 143 interrupted by SIGINT and SIGTERM.
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        command = nearest(words[0], COMMANDS, "command")
        from jaxcv import commands

        # `list` is a name of Python itself.
        return getattr(commands, "list_" if command == "list" else command)(words[1:])
    except KeyboardInterrupt:  # before training has started, or a second time
        return 130
    except Interrupted as error:
        print(f"jaxcv: {error}", file=sys.stderr)
        return 128 + error.signal_number
    except Exception as error:
        if traceback:
            raise
        # What a person can mend comes as ValueError or OSError, whose message says how.
        bad_input = isinstance(error, ValueError | OSError)
        kind = "" if bad_input else f"{type(error).__name__}: "
        print(f"jaxcv: {kind}{one_line(error)}", file=sys.stderr)
        return 2 if bad_input else 1
