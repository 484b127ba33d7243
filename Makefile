# `make demo` and `make test` each do all of their own set-up; Python >= 3.11 and make are all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKDIR ?= runs/demo
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
# What test-fast runs.
FAST ?= not slow and not heavy
# A file of versions to install, where not the newest.
CONSTRAINTS ?=

.PHONY: env demo test test-fast test-deep test-colab lint types clean

env: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[test]'
	touch $@

demo: env
	$(BIN)/python -m jaxcv train digits_lenet --workdir $(WORKDIR)

test: env
	$(PYTEST)

test-fast: env
	$(PYTEST) -m '$(FAST)' $(TESTS)

# Properties alone, on 20 times as many examples, which differ from run to run.
test-deep: env
	HYPOTHESIS_PROFILE=deep $(PYTEST) -m hypothesis $(TESTS)

# On the versions of Colab's TPU runtime, with jax's build for CPUs: what depends on them, every notebook, and
# what the notebooks' set-up adds to Colab's runtimes. These have Python 3.13: make test-colab PYTHON=python3.13
COLAB_TESTS := tests/train tests/tasks tests/data tests/*/test_convolution.py tests/losses/test_linear_kernels.py \
	tests/losses/test_linear_sharded.py tests/models/test_normalization.py tests/models/test_models_contract.py

test-colab:
	$(MAKE) test-fast FAST='not slow' VENV=.venv-colab CONSTRAINTS=tests/colab-tpu.txt TESTS='$(COLAB_TESTS)'
	.venv-colab/bin/python -m pytest -n 2 tests/test_colab.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
