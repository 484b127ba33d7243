"""Launcher: `python scripts/predict.py DIR IMAGE ...` is `jaxcv predict DIR IMAGE ...`."""

import sys

from jaxcv.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
