"""Launcher: `python scripts/evaluate.py DIR ...` is `jaxcv evaluate DIR ...`."""

import sys

from jaxcv.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
