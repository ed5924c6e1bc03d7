# What one does with this repository. `make help` lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The programs of scripts/tools.sh come before those of the system.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

# Places where a test may kill the process, and databases that a test throws away; never part of a release. The same
# everywhere, and always with the targets of tests, so that nothing is compiled twice.
TEST_FEATURES := --features storage/failpoints,storage/testing

.PHONY: help run build test check bench fmt clean routes tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start the whole platform; ARGS="--port 9000 --ephemeral" goes to `agora up`
	@command -v cargo >/dev/null || { echo 'Rust is not installed. Get it from https://rustup.rs' >&2; exit 1; }
	cargo run --bin agora -- up $(ARGS)

build: ## compile everything
	cargo build --workspace

test: tools ## run every test
	cargo build --workspace --all-targets $(TEST_FEATURES)
	cargo test --workspace $(TEST_FEATURES)

check: tools ## formatting, lints and contracts, without running anything
	cargo fmt --all --check
	buf lint
	buf format --diff --exit-code
	scripts/breaking.sh
	cargo clippy --workspace --all-targets $(TEST_FEATURES) -- -D warnings

bench: ## measure: trades and purchases per second, statements and CPU for each
	cargo build --workspace --profile perf
	target/perf/bench $(ARGS)

fmt: tools ## format Rust and proto
	cargo fmt --all
	buf format --write

routes: ## every route with its RPC and its policy
	@cargo run --quiet --bin agora -- routes

clean: ## remove what was built; the tools in .tools stay
	cargo clean

tools: ## install the programs that tests and checks use
	@scripts/tools.sh
