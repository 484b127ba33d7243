"""Launcher: `python scripts/train.py PRESET --workdir DIR ...` is `jaxcv train PRESET ...`."""

from jaxcv.cli.main import launch

if __name__ == "__main__":
    launch("train")
