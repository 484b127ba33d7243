"""`python scripts/train.py PRESET --workdir DIR ...` is `jaxcv train PRESET --workdir DIR ...`."""

from jaxcv.cli import launch

launch("train")
