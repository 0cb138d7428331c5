# Every target does all it needs on a machine with Python 3.11+, a Rust toolchain and make,
# and does nothing twice: what is done leaves a stamp, and the stamp depends on what it was made from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMPS := $(VENV)/.stamps
EXTENSION := python/penstock/_core.abi3.so

# Build products live outside the checkout, so that the next clean clone starts from them.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/penstock/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without it the bindings' build script takes any python3 on PATH, which may be too old.
export PYO3_PYTHON := $(CURDIR)/$(PY)

# Newest first; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)

HOST ?= 127.0.0.1
PORT ?= 4000
ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
GUARDS_ARGS ?=

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust_core proto -type f \
	\( -name '*.rs' -o -name Cargo.toml -o -name '*.proto' -o -name '*.json' -o -name '*.txt' -o -name '*.pem' -o -name '*.binpb' \) 2>/dev/null)
SIDE_BY_SIDE := --numprocesses=auto --dist=worksteal
NODE_TESTS := tests/node
NODE_STAMP := $(NODE_TESTS)/node_modules/.package-lock.json
NODE_EXAMPLES := examples/node
NODE_EXAMPLES_STAMP := $(NODE_EXAMPLES)/node_modules/.package-lock.json

.PHONY: help setup run run-full test test-rust test-python test-faults test-guards guards-record bench bench-full bench-peers lint lint-python \
	lint-rust lint-deps format lock wheel clean tools

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- setup ------------------------------------------------------------------------------------

setup: $(STAMPS)/dev $(EXTENSION) ## create .venv, install the locked requirements, build the extension

tools:
	@command -v cargo >/dev/null || { echo "make: cargo not found: install a Rust toolchain (1.89 or newer)" >&2; exit 1; }
	@test -n "$(PYTHON)" || test -x $(PY) || { \
		echo "make: no Python 3.11+ with venv and ensurepip on PATH: install one or pass PYTHON=/path/to/python" >&2; exit 1; }

$(STAMPS)/venv: | tools
	test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	mkdir -p $(@D) && touch $@

$(STAMPS)/runtime: requirements/runtime.txt requirements/build.txt $(STAMPS)/venv
	$(PY) -m pip install --quiet --no-input --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/runtime
	$(PY) -m pip install --quiet --no-input --require-hashes -r requirements/dev.txt
	touch $@

# maturin builds where it can show its progress; pip then records the package and its `penstock` command.
# (`maturin develop` alone would also install the dependency groups, unlocked, with a pip that may be too old for them.)
$(EXTENSION): $(RUST_SOURCES) pyproject.toml $(STAMPS)/runtime
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --skip-install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m pip install --quiet --no-input --no-deps --no-index --no-build-isolation -e .
	touch $@

$(NODE_STAMP): $(NODE_TESTS)/package-lock.json $(NODE_TESTS)/package.json
	cd $(NODE_TESTS) && npm ci --no-audit --no-fund --ignore-scripts
	touch $@

$(NODE_EXAMPLES_STAMP): $(NODE_EXAMPLES)/package-lock.json $(NODE_EXAMPLES)/package.json
	cd $(NODE_EXAMPLES) && npm ci --no-audit --no-fund --ignore-scripts
	touch $@

# ---- run --------------------------------------------------------------------------------------

run: $(EXTENSION) ## build and start the gateway on 127.0.0.1:4000 (HOST, PORT, ARGS="--config FILE")
	exec $(BIN)/penstock serve --host $(HOST) --port $(PORT) --show-key $(ARGS)

run-full: setup ## two gateways, a coworker, PostgreSQL and Redis on this machine (HOST, PORT, ARGS="--config FILE")
	exec $(PY) -m tools.run_full --host $(HOST) --port $(PORT) $(ARGS)

# ---- test -------------------------------------------------------------------------------------

test: test-rust test-python test-guards ## everything: Rust, Python, official SDKs in Python and Node, guards

# The binding crate is left out: it holds no logic and, as an extension module, links no test binary.
test-rust: | tools $(STAMPS)/venv ## the Rust crates' own tests
	cargo test --release --locked --workspace --exclude penstock-python -- --quiet

# What measures neither time nor load runs on all cores. So do the fault tests that mostly wait for something to go and to
# come back, apart from the others because these are in no hurry; those that take or measure the whole machine have it.
test-python: setup ## pytest: unit, integration (with the Node SDK), conformance, faults (PYTEST_ARGS: only these, one by one)
	@if command -v npm >/dev/null; then $(MAKE) $(NODE_STAMP) $(NODE_EXAMPLES_STAMP); \
		else echo "SKIPPED: Node SDK tests (npm not found)"; fi
ifeq ($(strip $(PYTEST_ARGS)),)
	$(PY) -m pytest --numprocesses=auto --dist=loadfile $(addprefix tests/,servers unit proto integration conformance)
	$(PY) -m pytest $(SIDE_BY_SIDE) tests/faults -m "not alone and not long"
	$(PY) -m pytest tests/faults -m "alone and not long"
else
	$(PY) -m pytest $(PYTEST_ARGS)
endif

test-faults: setup ## all fault tests, also those with outages of minutes (PYTEST_ARGS: one by one, with these)
ifeq ($(strip $(PYTEST_ARGS)),)
	$(PY) -m pytest $(SIDE_BY_SIDE) tests/faults -m "not alone"
	$(PY) -m pytest tests/faults -m "alone"
else
	$(PY) -m pytest tests/faults -m "long or not long" $(PYTEST_ARGS)
endif

test-guards: setup ## instruction counts (valgrind), system calls (strace), no GIL on the hot path
	cargo build --release --locked -p penstock-guards
	$(PY) -m pytest tests/guards

guards-record: setup ## store the counts that test-guards compares with (GUARDS_ARGS="--keep DIR")
	cargo build --release --locked -p penstock-guards
	$(PY) -m tests.guards.record $(GUARDS_ARGS)

# ---- bench ------------------------------------------------------------------------------------

bench: setup ## direct, nginx, Penstock: minutes -> benchmarks/RESULTS.md, benchmarks/results/ (BENCH_ARGS)
	$(PY) -m benchmarks $(BENCH_ARGS)

# The goals name one other gateway; where it cannot be installed the report says that it was not measured.
bench-full: setup ## the same, longer, with a million keys and smg beside it: for figures that are published
	-$(PY) -m benchmarks.peers install smg
	$(PY) -m benchmarks --full $(BENCH_ARGS)

bench-peers: setup ## the same as bench with other gateways beside it, each from an environment of its own
	-$(PY) -m benchmarks.peers install
	$(PY) -m benchmarks --peers $(BENCH_ARGS)

# ---- lint -------------------------------------------------------------------------------------

lint: lint-python lint-rust lint-deps ## ruff, mypy, stubtest, rustfmt, clippy, dependency policy

lint-python: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PY) -m mypy.stubtest penstock._core

# Release profile: build scripts and macros are then shared with the real build.
lint-rust: | tools $(STAMPS)/venv
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings

# `cargo fetch` is the only step that may use the network, and only for what is not cached yet.
lint-deps: $(STAMPS)/venv | tools
	cargo fetch --locked --quiet
	$(PY) tools/check_deps.py

format: setup ## rewrite the sources as ruff and rustfmt want them
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format
	cargo fmt --all

# ---- maintenance ------------------------------------------------------------------------------

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-config --custom-compile-command "make lock" $(LOCK_ARGS)

lock: $(STAMPS)/dev ## refresh requirements/*.txt and the Node lock (LOCK_ARGS=--upgrade moves versions)
	$(BIN)/$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(BIN)/$(LOCK) --group build -o requirements/build.txt
	$(BIN)/$(LOCK) pyproject.toml --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt
	cd $(NODE_TESTS) && npm install --package-lock-only --no-audit --no-fund
	$(PY) tools/check_deps.py

# The remapped prefixes keep the builder's directories out of panic messages.
wheel: $(STAMPS)/runtime ## a distributable abi3 wheel in dist/ (fat LTO)
	RUSTFLAGS="--remap-path-prefix=$(HOME)/=/ --remap-path-prefix=$(CURDIR)/=/ $${RUSTFLAGS:-}" \
		$(BIN)/maturin build --profile dist --locked --strip --out dist

clean: ## remove everything built in the checkout (the shared target directory stays)
	rm -rf $(VENV) dist $(NODE_TESTS)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
