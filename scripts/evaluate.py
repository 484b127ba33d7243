"""`python scripts/evaluate.py DIR ...` is `jaxcv evaluate DIR ...`."""

from jaxcv.cli.main import launch

launch("evaluate")
