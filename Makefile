# Two commands matter: `make book` and `make test`. `make help` lists them all.

PYTHON  ?= python3
PROFILE ?= quick
# Where the site is built: _build/html, or <BUILD>/_build/html.
BUILD   ?= .

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/installed

export PROFILE
# Kernels come from this environment, not from one that is installed elsewhere on the machine.
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter
export JUPYTER_PREFER_ENV_PATH := 1
# glibc gives every large block back to the system when it is freed, and a convolution asks for it
# again at once. Keeping freed memory made training on CPU 1.4 times faster. One arena: those of other
# threads than the first, where a study trains, give memory back whatever the settings say.
export MALLOC_ARENA_MAX := 1
export MALLOC_MMAP_THRESHOLD_ := 4294967296
export MALLOC_TRIM_THRESHOLD_ := 4294967296
export MALLOC_TOP_PAD_ := 268435456
# uv does not read pip's settings: hand a registry chosen for pip on to it.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.DEFAULT_GOAL := help
.PHONY: help book book-by-sphinx pdf slides test coverage arm bench zoo lab lab-networks lab-people study student otter cards environment colab lock clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

# One thread: with other programs on the cores, two wait for each other. Ten batches of ResNet-20 then
# took 4 to 43 seconds, and 2 with one thread. The price: on a free machine 1.2 seconds instead of 0.8.
ifneq ($(PROFILE),full)
book: export OMP_NUM_THREADS ?= 1
endif
book: $(STAMP)  ## execute the notebooks, render the site, print where it is (PROFILE=smoke|quick|full)
	$(BIN)/jupyter-book build . --path-output "$(BUILD)" -W --keep-going
	@echo "The book: $(CURDIR)/$(BUILD)/_build/html/index.html"

# Jupyter Book 1 only writes the settings. Should it stop working one day, this is what is left to mend.
book-by-sphinx: export PYTHONPATH := book/_ext
book-by-sphinx: $(STAMP)  ## build the same site by Sphinx alone, from settings written to conf.py
	$(BIN)/jupyter-book config sphinx .
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going . "$(BUILD)/_build/sphinx"

pdf: book  ## print the site as one PDF (with Chromium, or CHROMIUM=path)
	$(BIN)/python book/pdf.py "$(BUILD)/_build/html" "$(BUILD)/_build/pruning.pdf"

slides: book  ## print the slides of the site as PDF, a file a deck (with Chromium, or CHROMIUM=path)
	$(BIN)/python book/print_slides.py "$(BUILD)/_build/html" "$(BUILD)/_build/slides"

# Two at a time, a file each: building the site takes as long as most other tests together. One thread
# each, so that they do not wait for one another's. A worker that dies is not replaced: with another
# in its place the run did not end.
test: export OMP_NUM_THREADS := 1
test: $(STAMP)  ## run every test
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

coverage: export OMP_NUM_THREADS := 1
coverage: $(STAMP)  ## run every test and report the branches it reached
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --cov --cov-report=
	$(BIN)/coverage report --fail-under=95

arm: $(STAMP)  ## run the bundle on emulated Cortex-A53, A57 and A72 (installs compiler and emulator)
	$(BIN)/python -m prunekit.deploy tools
	PRUNEKIT_ARM=1 $(BIN)/pytest tests/test_arm.py

lab: $(STAMP)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)/notebooks"

bench: $(STAMP)  ## measure ranking and rebuilding against plain passes and torch-pruning
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/rebuilding.py
	$(BIN)/python book/peer_tables.py

zoo: $(STAMP)  ## prune every network of torchvision, and one of each file of timm; resumes
	$(BIN)/python -m uv pip install --python $(BIN)/python --constraint constraints.txt \
		--editable '.[timm]'
	$(BIN)/python benchmarks/zoo.py
	$(BIN)/python benchmarks/timm_zoo.py
	$(BIN)/python book/zoo_tables.py

study: $(STAMP)  ## run what is missing of a study (STUDY=smoke, ratios, ...; see book/studies)
	$(BIN)/python -m prunekit.study run $(STUDY) $(STUDY_OPTIONS)

LAB_START ?= base_96px/base_96px-seed0
LAB_RATIOS ?= 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8
lab-networks: $(STAMP)  ## cut and measure the networks of the page's lab (LAB_START, LAB_RATIOS)
	$(BIN)/python book/lab.py $(LAB_START) $(LAB_RATIOS)

LAB_DETECTORS ?= whole=pedestrian/unpruned-seed0 half=pedestrian/half-seed0
lab-people: $(STAMP)  ## measure the detectors of the page's lab (LAB_DETECTORS)
	$(BIN)/python book/lab_people.py $(LAB_DETECTORS)

STUDENT ?= _build/student
student: $(STAMP)  ## write chapters and assignments for a class, with what is to be built taken out
	$(BIN)/python -m prunekit.book.student notebooks "$(STUDENT)"
	$(BIN)/python -m prunekit.book.student book/classroom/assignments "$(STUDENT)/assignments"

OTTER ?= _build/otter
otter: $(STAMP)  ## write the assignments for otter-grader: for students, and to grade by
	$(BIN)/python -m uv pip install --python $(BIN)/python --constraint constraints.txt \
		--editable '.[otter]'
	$(BIN)/python -m prunekit.book.otter book/classroom/assignments "$(OTTER)"

cards: $(STAMP)  ## write the cards of the networks in book/results
	$(BIN)/python book/model_cards.py

environment: $(STAMP)  ## write environment.yml from pyproject.toml
	$(BIN)/python book/_ext/environment.py

colab: $(STAMP)  ## write the cell that each chapter needs on Colab
	$(BIN)/python book/_ext/colab.py

lock: $(STAMP)  ## choose new versions for constraints.txt
	$(BIN)/python -m uv pip compile pyproject.toml --all-extras --universal --upgrade \
		--no-annotate --no-header --no-emit-package prunekit --output-file constraints.txt

clean:  ## remove what was built; the environment stays (remove .venv by hand)
	rm -rf _build .pytest_cache .hypothesis .ruff_cache .mypy_cache .coverage .coverage.*
	find prunekit tests book -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in half a minute what takes pip five. Compiling now spares every kernel start seconds.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	if $(BIN)/python -m pip install --quiet 'uv>=0.13,<1'; then \
		$(BIN)/python -m uv pip install --python $(BIN)/python --compile-bytecode \
			--constraint constraints.txt --editable '.[book,test]'; \
	else \
		$(BIN)/python -m pip install --constraint constraints.txt --editable '.[book,test]'; \
	fi
	touch $@
