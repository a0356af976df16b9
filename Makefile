# Every target does its own set-up: uv from pip, .venv, the package with what the target needs.
VENV   := .venv
PY     := $(VENV)/bin/python
EXTRAS := dev,demo
export OMP_WAIT_POLICY ?= passive
export HF_HUB_OFFLINE  ?= 1
JOBS   ?= 2

.PHONY: help demo test lint format test-slow test-gpu test-browser bench train-zoo clean
help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml hatch_build.py
	@command -v uv >/dev/null 2>&1 || python3 -m uv --version >/dev/null 2>&1 || python3 -m pip install -q uv || python3 -m pip install -q --user uv
	@UV=$$(command -v uv || echo "python3 -m uv"); \
	 test -x $(PY) || $$UV venv -q --python '>=3.11' $(VENV); \
	 $$UV pip install -q --python $(PY) -e '.[$(EXTRAS)]'
	@touch $@

demo: $(VENV)/.ready ## upscale a procedural scene and the real samples into out/demo
	OMP_NUM_THREADS=$(JOBS) $(PY) -m earthgen demo out/demo

test: $(VENV)/.ready ## the default tests
	$(PY) -m pytest -n $(JOBS) -q

lint: $(VENV)/.ready ## ruff, mypy --strict, the import directions
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m pytest -q tests/packaging/test_structure.py

format: $(VENV)/.ready ## let ruff lay out the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

test-slow: $(VENV)/.ready ## the long tests
	$(PY) -m pytest -q -m slow --timeout 3600

test-gpu: $(VENV)/.ready ## the tests that need a CUDA device
	$(PY) -m pytest -q -m gpu

test-browser: $(VENV)/.ready ## drive the app in Chromium (installs Debian's chromium where it is missing)
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq chromium)
	@UV=$$(command -v uv || echo "python3 -m uv"); $$UV pip install -q --python $(PY) -e '.[$(EXTRAS),browser]'
	$(PY) -m pytest -q -m browser

bench: $(VENV)/.ready ## the benchmarks, side by side, as JSON into out/bench
	$(PY) -m tests.bench out/bench

train-zoo: $(VENV)/.ready ## train the zoo models from their recipes (about 25 minutes each on one core)
	for model in ediffsr-x4-small ediffsr-x4-small-rgb; do \
	  OMP_NUM_THREADS=1 $(PY) -m earthgen train $$model-world output=runs && \
	  OMP_NUM_THREADS=1 $(PY) -m earthgen train $$model output=runs initialise=runs/$$model-world/final || exit 1; done
	OMP_NUM_THREADS=1 $(PY) -m earthgen train ediffsr-x4-small-onestep output=runs

clean: ## remove the environment and what was built
	rm -rf $(VENV) out runs build dist
