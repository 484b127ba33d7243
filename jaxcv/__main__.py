"""`python -m jaxcv`."""

from jaxcv.cli.process import prepare_process

prepare_process()  # before the rest is imported, which takes a while

from jaxcv.cli.main import launch  # noqa: E402

launch()
