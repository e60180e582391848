# From a clone to a built book. Every target does its own set-up, inside this folder: 'make' lists them.
#
#   make book PROFILE=standard CORES=8     longer runs        make test PYTHON=python3.12 VENV=.venv-3.12
#   make book VENV=$CONDA_PREFIX           an environment made from environment.yml

PYTHON     ?= python3
VENV       ?= .venv
CORES      ?= all
PROFILE    ?= quick
SEED       ?= 0
REPLICATES ?=
DATA       ?= mnist
# 1 lets PROFILE=paper run without a GPU, for weeks.
ALLOW_CPU  ?=
# All seeds of an experiment in one job where there is a GPU, which one seed alone does not fill.
TOGETHER   ?= $(if $(shell command -v nvidia-smi),1)
# Cores of each job; half of all where nothing is said, so that two run side by side.
THREADS    ?=
BUILD      := $(or $(AAE_BUILD),_build)

RUN       := $(VENV)/bin/python
PIP       := $(RUN) -m pip install --disable-pip-version-check --quiet --progress-bar on
INSTALLED := $(VENV)/.aae-installed
TOOLS     := $(VENV)/.aae-tools

# Tools keep their caches in this folder too (pip apart).
CACHE := $(if $(filter /%,$(BUILD)),,$(CURDIR)/)$(BUILD)/cache
export MPLCONFIGDIR          := $(CACHE)/matplotlib
export PRE_COMMIT_HOME       := $(CACHE)/pre-commit

.DEFAULT_GOAL := help
.PHONY: help setup tools data book chapter lab published publish test bench faults slurm sweep audit lint lock sync clean

help: ## list every target
	@echo "make TARGET [PROFILE=$(PROFILE)] [CORES=$(CORES)] [SEED=$(SEED)] [REPLICATES=n] [THREADS=n] [DATA=$(DATA)] [VENV=$(VENV)] [PYTHON=$(PYTHON)]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) ## make .venv with the exact packages of constraints.txt

tools: $(TOOLS) ## add to it what lab, bench, slurm, audit and lock need

data: setup ## fetch and verify MNIST
	@$(RUN) -m aae_lib.cli fetch

book: setup ## train what is missing, execute the chapters, build the book
	@start=$$(date +%s); $(RUN) -m snakemake --snakefile Snakefile --directory "$(BUILD)/snakemake" \
		--runtime-source-cache-path "$(CACHE)/snakemake" \
		--cores $(CORES) --rerun-incomplete --nolock --keep-going --quiet all \
		--config profile=$(PROFILE) seed=$(SEED) replicates=$(REPLICATES) data="$(DATA)" threads=$(THREADS) together=$(TOGETHER) \
		allow_cpu=$(ALLOW_CPU) && \
		took=$$(($$(date +%s) - start)) && echo "Total time:    $$((took / 60)) min $$((took % 60)) s"

chapter: setup ## execute one chapter: make chapter CHAPTER=07
	@$(RUN) -m aae_lib.book run $(CHAPTER) --profile $(PROFILE) --seed $(SEED) \
		$(if $(REPLICATES),-p replicates $(REPLICATES)) $(if $(filter-out 0,$(ALLOW_CPU)),-p allow_cpu True) -p data "$(DATA)"

lab: tools ## open the notebooks in JupyterLab
	@$(RUN) -m jupyterlab notebooks

published: setup ## build the book from the published chapters, training nothing
	@$(RUN) -m aae_lib.book build --published

publish: setup ## copy this machine's chapters, results and measurements to book/chapters and data/
	@$(RUN) -m aae_lib.book publish $(CHAPTER)

# A process for each core; the products of one test are too small for more. Files in the order that tests/conftest.py
# gives them, the longest first.
test: setup ## run the tests
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(if $(filter all,$(CORES)),auto,$(CORES)) --dist loadfile --no-loadscope-reorder

bench: tools ## measure speed, each figure a ratio taken side by side, into _build/bench.json
	@$(RUN) tests/bench

faults: setup ## hurt real processes, damage files, feed it nonsense: a table of what was lost, into _build/faults.json
	@$(RUN) tests/faults

slurm: tools ## as root: a sweep on a Slurm cluster that loses a job and a node, into _build/slurm.log
	@$(RUN) tests/slurm

sweep: setup ## measure what a thousand runs at once would ask of Snakemake, disk and locks, into _build/sweep.json
	@$(RUN) tests/sweep

audit: tools ## ask PyPI for known vulnerabilities of the pinned packages
	@$(RUN) tests/audit.py

lint: setup ## check style, formatting and the notebooks' pairs
	@PATH="$(abspath $(VENV))/bin:$$PATH" $(RUN) -m pre_commit run --all-files

lock: tools ## write requirements*.lock anew from constraints.txt, with the sums of the packages' files
	@$(LOCK) --extra book --extra test --output-file requirements.lock pyproject.toml
	@$(LOCK) --extra audit --extra bench --extra lab --extra slurm --output-file requirements-tools.lock pyproject.toml

LOCK = $(RUN) -m uv pip compile --quiet --universal --python-version 3.11.9 --generate-hashes --no-annotate \
	--constraint constraints.txt --custom-compile-command 'make lock' \
	$(patsubst %,--no-emit-package %,pip torch $(shell grep -oE '^(cuda|nvidia|triton)[a-z0-9-]*' constraints.txt))

sync: setup ## bring each notebook's .py and .ipynb together, the newer one leading
	@$(RUN) -m jupytext --sync notebooks/*.py

clean: ## remove the built book and its staged source; runs, chapters and results stay
	rm -rf "$(BUILD)/html" "$(BUILD)/source"

# One installation, done again only when what is to be installed changes. What the lock names has to have the very bytes
# that it names; pip can check no such sum for this folder, nor for torch, of which each kind of machine has its own build.
$(INSTALLED): pyproject.toml constraints.txt requirements.lock
	@command -v git >/dev/null || { echo "make: git is missing; install it (Debian: apt install git)." >&2; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); install Python 3.11 to 3.14, or name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
		{ echo "make: $$($(PYTHON) --version 2>&1) cannot run this; Python 3.11 to 3.14 is needed: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(RUN) || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) has no venv module; install it (Debian: apt install python3-venv)." >&2; exit 2; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements.lock
	$(PIP) -c constraints.txt -e '.[book,test]'
	@touch $@

$(TOOLS): $(INSTALLED) requirements-tools.lock
	$(PIP) --require-hashes --no-deps -r requirements-tools.lock
	$(PIP) -c constraints.txt -e '.[book,test,audit,bench,lab,slurm]'
	@touch $@
