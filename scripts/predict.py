"""`python scripts/predict.py DIR IMAGE ...` is `jaxcv predict DIR IMAGE ...`."""

from jaxcv.cli import launch

launch("predict")
