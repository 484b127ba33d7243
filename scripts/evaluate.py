"""`python scripts/evaluate.py DIR ...` is `jaxcv evaluate DIR ...`."""

from jaxcv.cli import launch

launch("evaluate")
