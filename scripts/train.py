"""`python scripts/train.py PRESET --workdir DIR ...` is `jaxcv train PRESET --workdir DIR ...`."""

from jaxcv.cli.main import launch

launch("train")
