PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# apart from the rest, because torchvision's wheel breaks what imports it beside a CPU-only torch
ZOO := torchvision timm timm_3d segmentation-models-pytorch
ZOO += dynamic-network-architectures  # those of nnU-Net
ZOO += pytorchvideo fvcore iopath portalocker yacs tabulate termcolor  # the rest is what it imports
# nnU-Net v2, and what it imports beside the rest, for tests/zoo/test_nnunet_itself.py
NNUNET := nnunetv2 batchgenerators batchgeneratorsv2 acvl_utils connected-components-3d blosc2
NNUNET += ndindex numexpr seaborn einops unittest2 traceback2
# what tests and benchmarks compare with, without what it depends on
PEERS := acsconv continual-inference torch-pruning

.PHONY: install demo nnunet test test-slow fuzz test-matrix reliability lint bench docs

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/zoo $(ZOO)
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps $(PEERS)
	touch $@

demo: install  ## train, convert, compare and predict on a real brain; writes runs/demo/report.html
	$(BIN)/lean3d demo --out runs/demo --resume

nnunet: install  ## nnU-Net v2, apart from the rest, for the slow test that trains with it
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/nnunet $(NNUNET)

test: install
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: install
	$(BIN)/pytest -m slow

fuzz: install  ## 20,000 odd inputs; stopped, it goes on with the next round
	$(BIN)/python tests/fuzz/rounds.py

test-matrix:  ## what cannot be had here is said and skipped
	$(PYTHON) tests/matrix.py

reliability: install
	$(BIN)/python benchmarks/reliability.py --run

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: install
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.docs  ## the site, in site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
