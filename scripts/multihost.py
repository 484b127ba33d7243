"""Runs a command of jaxcv as one process of several, on as many hosts.

    python scripts/multihost.py --coordinator HOST:PORT --processes N --process I -- train PRESET ...

Start it on every host with the same words but its own number I; process 0 runs on HOST. On a Cloud
TPU pod or under SLURM the three options may be left out: JAX finds them by itself.
"""

import argparse
import sys

import jax

from jaxcv.cli.main import main
from jaxcv.cli.process import run_as_process


def launch(words: list[str]) -> int:
    """Joins the other processes, then runs the command."""
    own, command = words, []
    if "--" in words:
        own, command = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coordinator", help="HOST:PORT of process 0")
    parser.add_argument("--processes", type=int, help="number of processes")
    parser.add_argument("--process", type=int, help="number of this one, from 0")
    options = parser.parse_args(own)
    jax.distributed.initialize(options.coordinator, options.processes, options.process)
    return main(command)


if __name__ == "__main__":
    run_as_process(lambda: launch(sys.argv[1:]))
