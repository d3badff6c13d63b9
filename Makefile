# make demo, make test, make lab and make app create .venv themselves, with the Python that PYTHON names (3.11 or 3.12).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv, itself installed with pip, installs in seconds what takes pip minutes to resolve.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
# ipykernels other than .venv's own, for the tests in Jupyter: a kernel with such a folder on PYTHONPATH runs that version.
INSTALL_KERNEL := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(VENV)/kernels
# More workers than cores, since tests mostly wait for a cluster or an engine.
WORKERS ?= 4
PYTEST ?=
# If this is set, every process of a test compiles all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test pytest test-all lab app bench pictures check format constraints dist clean

demo: $(VENV)/.demo
	$(BIN)/autotune-nb demo $(if $(STUDY),--study $(STUDY))

RUN_TESTS = $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST)

test: check
	$(RUN_TESTS)

# Without ruff and mypy, which .ci/run runs beside it.
pytest: $(VENV)/.test
	$(RUN_TESTS)

# Also runs the tests marked slow, and property tests with more examples.
test-all: check $(VENV)/.front_ends
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n $(WORKERS) --slow $(PYTEST)

lab: $(VENV)/.lab
	$(BIN)/jupyter lab --notebook-dir notebooks

# The form and the monitor of 02_explore.ipynb as a page without code; its address has a token. VOILA takes further options of voila.
app: $(VENV)/.app
	cd notebooks && $(abspath $(BIN))/voila 02_explore.ipynb $(VOILA)

bench: $(VENV)/.test
	$(BIN)/python -m tests.benchmarks

# The README's pictures, anew from a real run in a headless JupyterLab.
pictures: $(VENV)/.test
	$(BIN)/python -m tests.pictures

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers auto

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Without the extra rate, whose aiperf needs older versions. Pins the packages that set-up installs to their newest versions; run the tests afterwards.
constraints: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --extra local --extra lab --extra app --extra mlflow --extra parquet --extra test --extra front-ends --upgrade pyproject.toml -o constraints.txt
	sed -i "1i # Pins what make sets up; made by make constraints." constraints.txt

# What is published: the wheel and the sdist, checked as the package index does.
dist: $(BIN)/uv
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/uv tool run --quiet --from 'twine>=6.1' twine check --strict dist/*

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "autotune_nb needs Python 3.11 or 3.12 (make PYTHON=python3.12 ...)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/.demo: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local]'
	touch $@

# Without rfc3987-syntax, which every process that imports jsonschema would spend a second on; nothing here needs it.
$(VENV)/.test: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local,lab,mlflow,test]'
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python rfc3987-syntax
	$(INSTALL_KERNEL)/6.31 'ipykernel==6.31.*' nest-asyncio
	$(INSTALL_KERNEL)/7.3 'ipykernel==7.3.*'
	touch $@ $(VENV)/.demo $(VENV)/.lab

$(VENV)/.lab: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local,lab]'
	touch $@ $(VENV)/.demo

$(VENV)/.app: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local,app]'
	touch $@ $(VENV)/.demo

# The front ends besides JupyterLab that only slow tests need.
$(VENV)/.front_ends: $(VENV)/.test
	$(INSTALL) --editable '.[local,lab,app,front-ends]'
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python rfc3987-syntax
	touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
