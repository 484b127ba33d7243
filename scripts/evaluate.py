"""Launcher: `python scripts/evaluate.py DIR ...` is `jaxcv evaluate DIR ...`."""

from jaxcv.cli.main import launch

if __name__ == "__main__":
    launch("evaluate")
