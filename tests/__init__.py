"""The tests mirror the package: `tests/train/test_step.py` tests `jaxcv/train/step.py`."""
