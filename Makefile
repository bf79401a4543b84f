# `make help` lists the targets. Everything runs from .venv, which `make setup` makes from envs/requirements.lock.

STUDY ?=
CORES ?= all
UPGRADE ?=

.DEFAULT_GOAL := help
.PHONY: help setup validators reproduce test lint fuzz kills devices tamper steps gpu test-browser test-slurm own-data bench lock base image sif contained docs links clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make or mend .venv; quick when nothing changed (PYTHON=... picks the interpreter)
	@bash envs/setup.sh

validators: ## make .venv-validators, with which the tests check crates; quick when nothing changed
	@bash envs/validators.sh

reproduce: setup ## make every table of a study anew where it is missing (STUDY=name, CORES=n)
	.venv/bin/snakemake --cores $(CORES) $(if $(STUDY),--config study=$(STUDY))

test: setup ## run the tests, files side by side; without .venv-validators (no network), that of roc-validator is skipped
	@bash envs/validators.sh || echo "no .venv-validators: roc-validator's test will be skipped" >&2
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-browser: setup ## the long form of the report's tests in Chromium: every tab of every number (apt-get install chromium)
	REDISTILL_BROWSER=all .venv/bin/python -m pytest tests/test_browser.py --timeout 1500

test-slurm: setup ## make a small study on a Slurm of this machine's own, with kills (root; slurm-wlm, munge)
	REDISTILL_SLURM=1 .venv/bin/python -m pytest tests/test_slurm.py tests/test_kubernetes.py --timeout 1500

fuzz: setup ## the long form of the fuzz test: 10,000 spoilt configurations
	REDISTILL_FUZZ=10000 .venv/bin/python -m pytest tests/test_fuzz.py --timeout 5400

kills: setup ## the long form of the resume tests: 50 SIGKILLs of every kind of run
	REDISTILL_KILLS=50 .venv/bin/python -m pytest tests/test_engine.py -k kill --timeout 5400

devices: setup ## the long form of the tests of several devices: 10 SIGKILLs of each kind of run
	REDISTILL_KILLS=10 .venv/bin/python -m pytest tests/test_devices.py --timeout 5400

tamper: setup ## the long form of the tampering test: 200 tamperings with a published study, 20 untouched ones
	REDISTILL_TAMPER=200 .venv/bin/python -m pytest tests/test_tampering.py --timeout 5400

steps: setup ## the long form of the paper's vision test: a step and an evaluation of all published experiments
	REDISTILL_PAPER_STEPS=all .venv/bin/python -m pytest tests/test_paper_steps.py --timeout 5400

gpu: setup ## the tests that need a GPU, one after the other; what they find is in docs/devices.md
	.venv/bin/python -m pytest tests/test_cuda.py tests/test_gpu_pipeline.py --timeout 3000

own-data: setup ## the commands of docs/own-data.md, timed, on data in REDISTILL_OWN_DATA (half an hour)
	.venv/bin/python -m pytest tests/test_own_data.py -s

bench: reproduce ## measure speed beside the peers and write benchmarks/results/ (REDISTILL_SHARED_DATA=folder; three hours)
	.venv/bin/python benchmarks/budget.py
	.venv/bin/python benchmarks/estimates.py
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/dag.py
	.venv/bin/python benchmarks/makespan.py
	.venv/bin/python benchmarks/scale.py
	.venv/bin/python benchmarks/forecasts.py
	.venv/bin/python benchmarks/report.py
	.venv/bin/python benchmarks/markdown.py

lint: setup ## check style, types and rules
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy src
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

docs: setup ## build the docs as a site in build/docs; anything that Sphinx warns of fails
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

links: setup ## ask every link of the docs that leads outside whether it is there (network)
	.venv/bin/python -m sphinx -W --keep-going -q -b linkcheck docs build/links

lock: ## make envs/requirements.lock from pyproject.toml (UPGRADE=1 moves versions; else they stay where they can)
	@bash envs/lock.sh $(if $(UPGRADE),--upgrade)

base: ## make a base image from Debian's packages, where no image registry is reached (BASE=localhost/redistill-base)
	@bash envs/image.sh base

image: ## build the container's image from the last commit (BASE=, PIP_CONF=, CA=, BUILDAH=; docs/containers.md)
	@bash envs/image.sh build

sif: ## make redistill.sif of that image, for --sdm apptainer
	@bash envs/image.sh sif

contained: ## the long form of the container's tests: make a study in the image, compare its tables (STUDY=, CORES=)
	@bash envs/image.sh study $(STUDY)

clean: ## remove .venv and caches; store/ and results/ stay
	rm -rf .venv .venv-validators .mypy_cache .pytest_cache .ruff_cache .hypothesis .snakemake build src/*.egg-info
	find . -path ./store -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
