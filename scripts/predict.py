"""`python scripts/predict.py DIR IMAGE ...` is `jaxcv predict DIR IMAGE ...`."""

from jaxcv.cli.main import launch

launch("predict")
