# Every command prepares the machine first (see .ci/prepare) and says what it does.
#
# KVORUM_CACHE       what is kept between checkouts, RocksDB's archive above all (default ~/.cache/kvorum)
# CARGO_TARGET_DIR   where cargo builds (default $KVORUM_CACHE/target)
# KVORUM_DATA        the data of `make run` and `make cluster` (default ./kvorum-data)
# SEEDS              how many seeds `make sim` runs
# TARGET, SECONDS    which decoder `make fuzz` looks for inputs for, and for how long
# FLAGS              more flags for the member of `make run`, or for `bench compare` of `make bench`

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help run cluster test lint fuzz bench torture failover sim sim-faults deb

KVORUM_DATA ?= ./kvorum-data
FLAGS ?=
SEEDS ?= 1000
TARGET ?= http
SECONDS ?= 60

help:
	echo 'make run     build in release mode and start one member on 127.0.0.1:2379 (peers: 2380), data in $(KVORUM_DATA)'
	echo 'make cluster build in release mode and start three members on 127.0.0.1, ports 2379, 22379 and 32379; Ctrl-C ends them'
	echo 'make test    build everything and run every test; real etcd is installed, to compare answers with'
	echo 'make sim     run SEEDS=$(SEEDS) seeds of the simulator, which tears a cluster apart in one thread (make test runs 200)'
	echo 'make sim-faults  plant every fault in it and show after how many seeds it was found'
	echo 'make fuzz    look for inputs that a decoder does not bear: TARGET=$(TARGET) SECONDS=$(SECONDS)'
	echo 'make lint    check format, lints and, where cargo-deny is installed, licences and advisories'
	echo 'make torture three members under random faults for some minutes, every answer checked'
	echo 'make failover how long writes stop when the leader goes, beside real etcd'
	echo 'make deb     build a package for Debian with unit, user, manual page and completions; needs cargo-deb'
	echo 'make bench   run etcd 3.4, etcd 3.5 and Kvorum side by side and print what each costs'
	echo
	echo 'The first of these installs missing Debian packages (as root) and builds RocksDB once, which takes ten to'
	echo 'twenty minutes. Variables are explained at the top of the Makefile.'

run:
	settings="$$(.ci/prepare build)"; eval "$$settings"
	echo 'run: building in release mode'
	cargo build --release --package kvorum --bin kvorum
	echo 'run: starting a member on http://127.0.0.1:2379 with its data in $(KVORUM_DATA); stop it with Ctrl-C'
	.ci/greet $$$$ &
	exec "$$CARGO_TARGET_DIR/release/kvorum" --data-dir '$(KVORUM_DATA)' \
	  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
	  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
	  --initial-cluster default=http://127.0.0.1:2380 $(FLAGS)

cluster:
	settings="$$(.ci/prepare build)"; eval "$$settings"
	echo 'cluster: building in release mode'
	cargo build --release --package kvorum --bin kvorum
	echo 'cluster: starting three members with their data in $(KVORUM_DATA)/cluster'
	exec .ci/cluster "$$CARGO_TARGET_DIR/release/kvorum" '$(KVORUM_DATA)/cluster'

deb:
	settings="$$(.ci/prepare build)"; eval "$$settings"
	command -v cargo-deb > /dev/null || { echo 'deb: there is no cargo-deb: cargo install cargo-deb --locked'; exit 1; }
	echo 'deb: building in release mode'
	cargo build --release --package kvorum --package kvorumctl --bins
	built="$$CARGO_TARGET_DIR/release"
	mkdir -p "$$built/deb"
	"$$built/kvorum" man > "$$built/deb/kvorum.8"
	"$$built/kvorum" completion > "$$built/deb/kvorum.bash"
	"$$built/kvorumctl" man > "$$built/deb/kvorumctl.1"
	"$$built/kvorumctl" completion bash > "$$built/deb/kvorumctl.bash"
	cargo deb --no-build --package kvorum --output "$$built/deb"

test:
	settings="$$(.ci/prepare test)"; eval "$$settings"
	echo 'test: building every program'
	cargo build --workspace --bins
	echo 'test: running every test'
	cargo test --workspace

sim:
	settings="$$(.ci/prepare lint)"; eval "$$settings"
	echo 'sim: $(SEEDS) seeds'
	SEEDS='$(SEEDS)' cargo test --package tests --test sim no_seed_breaks_an_invariant -- --nocapture

sim-faults:
	settings="$$(.ci/prepare lint)"; eval "$$settings"
	echo 'sim-faults: each fault is planted and looked for in up to 1000 seeds'
	cargo test --package tests --test sim planted_faults_are_found -- --nocapture

lint:
	settings="$$(.ci/prepare lint)"; eval "$$settings"
	echo 'lint: format'
	cargo fmt --all --check
	echo 'lint: clippy'
	cargo clippy --workspace --all-targets -- -D warnings
	if cargo deny --version > /dev/null 2>&1; then
	  echo 'lint: licences, sources, advisories'
	  cargo deny check
	else
	  echo 'lint: licences and advisories were NOT checked: cargo-deny is not installed (cargo install cargo-deny)'
	fi

# Each function counts which of its branches were taken and what was compared with what, as libFuzzer wants it; the stable
# compiler can do that. With a target platform named, build scripts are spared. New inputs go to a folder of their own; what
# is found is a file `crash-...` there: put it into tests/fuzz/corpus/TARGET under a name that says what it is.
FUZZ_PLATFORM := $(shell uname -m)-unknown-linux-gnu
FUZZ_FLAGS := -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
  -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
  -C llvm-args=-sanitizer-coverage-trace-compares -C debug-assertions -C overflow-checks

fuzz:
	settings="$$(.ci/prepare build)"; eval "$$settings"
	echo 'fuzz: building, the first time for some minutes'
	CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_CODEGEN_UNITS=4 \
	RUSTFLAGS='$(FUZZ_FLAGS)' CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/guided" \
	  cargo build --release --package fuzz --features guided --bin fuzz --target $(FUZZ_PLATFORM)
	found="$$CARGO_TARGET_DIR/guided/found/$(TARGET)"; mkdir -p "$$found"
	echo 'fuzz: $(TARGET) for $(SECONDS) s'
	KVORUM_FUZZ='$(TARGET)' "$$CARGO_TARGET_DIR/guided/$(FUZZ_PLATFORM)/release/fuzz" \
	  -max_total_time='$(SECONDS)' -timeout=20 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 \
	  -artifact_prefix="$$found/" "$$found" 'tests/fuzz/corpus/$(TARGET)'

bench:
	settings="$$(.ci/prepare bench)"; eval "$$settings"
	echo 'bench: building in release mode'
	cargo build --release --package kvorum --package bench
	"$$CARGO_TARGET_DIR/release/bench" compare $(FLAGS)

# TORTURE_SEED repeats the choices of a run; TORTURE_ROUNDS and TORTURE_OPERATIONS say how much.
torture:
	settings="$$(.ci/prepare test)"; eval "$$settings"
	echo 'torture: building'
	cargo build --workspace --bins
	TORTURE_ROUNDS="$${TORTURE_ROUNDS:-40}" TORTURE_OPERATIONS="$${TORTURE_OPERATIONS:-60000}" \
	  cargo test --package tests --test torture -- --nocapture three_members_survive_random_faults

failover:
	settings="$$(.ci/prepare test)"; eval "$$settings"
	echo 'failover: building in release mode'
	cargo build --release --package kvorum --package tests --bins
	"$$CARGO_TARGET_DIR/release/failover"
