# Two commands set everything up: `make demo` and `make test`. Each makes .venv on first use.
PYTHON ?= python3.11
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow lint audit clean
.DEFAULT_GOAL := test

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/pip install --quiet --editable '.[train,cpu,dev]'
	touch $@

demo: export PORT := $(PORT)
demo: $(VENV)/.installed  ## build the synthetic shop, train, align, export, serve
	$(BIN)/radsearch demo

# Two at a time, for many wait for servers, and a file by one of them, for its tests share those.
test: $(VENV)/.installed lint  ## lint, types and every fast test
	$(BIN)/pytest --numprocesses 2 --dist loadfile

slow: $(VENV)/.installed  ## the tests that take minutes
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive sid service training model_export loadtest radsearch benchmarks

# A package that cannot be looked up fails it. The advisories know torch by its version without the build's name.
audit: $(VENV)/.installed  ## look for dependencies with known weaknesses, at PyPI's advisory service
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu$$//' | \
		$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement /dev/stdin

clean:  ## remove what `demo` made
	rm -rf .demo
