"""Launcher: `python scripts/train.py PRESET --workdir DIR ...` is `jaxcv train PRESET ...`."""

import sys

from jaxcv.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
