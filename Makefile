# The front door. Each target is what CI and people call alike; set-up does nothing twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/profiler-build
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)
export TZ := UTC
export LC_ALL := C.UTF-8
ARGS ?=

.PHONY: $(shell grep -oE '^[a-z-]+:' $(MAKEFILE_LIST) | tr -d :)
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: build ## build, then sample this host and serve http://127.0.0.1:7117 (needs root; ARGS="-F 199" adds options)
	@scripts/as-root.sh target/release/profiler run $(ARGS)

build: setup web ## build the release binary, target/release/profiler
	cargo build --release --locked

build-aarch64: setup web ## build for aarch64 as well; nobody has run that on a real machine yet
	@scripts/setup.sh aarch64
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo build --release --locked --target aarch64-unknown-linux-gnu

web: setup-web ## build the page into web/dist
	@scripts/build-web.sh

setup: ## install what the build needs: system packages, the toolchain, bpf-linker
	@scripts/setup.sh build

setup-web: ## install what the page needs: node and its packages
	@scripts/setup.sh web

setup-test: setup setup-web ## install what the tests need: chromium, perf, a C compiler's friends
	@scripts/setup.sh test

test: test-unit test-kernel test-web test-readme ## every test (needs root: real eBPF on this kernel)

test-unit: setup-test web ## tests that need no privileges
	cargo test --locked --workspace --lib --bins && cargo test --locked -p profiler --test api --test cli --test one_opener --example bench_store
	cd web && npm test
	@scripts/test-figures.sh

fuzz-rows: setup ## many more hostile files against the compiler of unwind rows (about 5 minutes)
	PROPTEST_CASES=20000 cargo test --release --locked -p profiler --lib unwind::hostile_tests

test-kernel: setup-test web ## tests on this kernel: real eBPF, real processes, a real database (root)
	@scripts/as-root.sh scripts/test-as-root.sh
	@scripts/as-root.sh cargo test --locked -p profiler --test sampler --test unwind --test end_to_end --test hostile_files -- --test-threads=1

test-web: build setup-test ## the page in headless Chromium, against a real recording of this host
	@scripts/test-web.sh

test-readme: build ## every command of the README, as a new user would type it
	@scripts/test-readme.sh

mapping-storm: build ## 60 processes with 4,000 mappings each by one user: windows, memory, /healthz (root, about 5 minutes)
	scripts/as-root.sh scripts/mapping-storm.sh target/release/profiler

test-crash: KILLS ?= 200
test-crash: setup-test web ## kill -9 at 200 moments under load (root, about 5 minutes; KILLS=20 is fewer)
	@PROFILER_KILLS=$(KILLS) scripts/full-run.sh "$(KILLS) kills" scripts/as-root.sh cargo test --locked -p profiler --test end_to_end -- --nocapture kill_9

test-log: setup-test web ## a read by the sqlite3 shell, then kill -9, 20 times: stored is what was told (root, about 3 minutes)
	@PROFILER_LOG_ROUNDS=20 scripts/as-root.sh cargo test --locked -p profiler --test end_to_end -- --nocapture after_a_read_by_the_shell

test-powercut: build ## 20 power cuts of a virtual machine that samples itself (root, qemu without KVM, about 10 minutes)
	@scripts/setup.sh powercut
	@scripts/as-root.sh scripts/test-powercut.sh

test-kernels: build setup-test ## the walk, the sampler and record on Debian's 6.1 and 6.12 kernels, with bpf_loop and by tail calls (qemu without KVM, about 4 minutes and a build; KERNELS=6.1)
	@scripts/setup.sh kernels
	@scripts/test-kernels.sh

test-hostile: build setup-test ## every case of scripts/hostile at full size, a line each (root; NAMES="a b" runs only these)
	@scripts/as-root.sh scripts/test-hostile.sh

soak: build setup-test ## 997 Hz and 1 s windows beside exec and mapping storms, JIT churn, questions: memory, descriptors, books (root, 10 minutes; SOAK_SECONDS=3600)
	@scripts/full-run.sh "soak of $(or $(SOAK_SECONDS),600) seconds" scripts/as-root.sh scripts/soak.py

test-truth: setup-test ## the walk against gdb at 1,190 random stops of seven programs, frame by frame (about 4 minutes, root)
	cargo build --release --locked -p profiler --example truth
	@scripts/full-run.sh "$(or $(STOPS),170) stops each" scripts/as-root.sh scripts/truth.sh

test-names-truth: build setup-test ## names against gdb at 1,000 random addresses of ten running Debian programs, inlined functions too (about 2 minutes, root; SEED=7 draws others)
	cargo build --release --locked -p profiler --example names_truth
	@scripts/full-run.sh "$(or $(COUNT),100) addresses each, seed $(or $(SEED),1)" scripts/as-root.sh scripts/names-truth.sh

lint: setup setup-web web ## formatting, clippy, the web linter, the paths that ARCHITECTURE.md names
	cargo fmt --all --check && cargo clippy --locked --workspace --all-targets -- -D warnings
	cd web && npm run --silent lint
	@scripts/check-docs.sh

fmt: ## format everything
	cargo fmt --all && cd web && npm run --silent fmt

bless: setup-web ## rewrite the golden files from what the code does now; read the diff before committing
	BLESS=1 cargo test --locked -p profiler --lib server::contract
	cd web && npm run --silent types

bench: build setup-test ## own cost beside `perf record`, in one run (about 3 minutes, root)
	@scripts/as-root.sh scripts/bench.sh

bench-names: setup-test ## what naming 10,000 addresses of a release with all its debug information costs, at first and second sight, beside blazesym alone, llvm-symbolizer, perf script, addr2line (about 15 minutes, half of them a build; FILE=another such program)
	cargo build --release --locked -p profiler --bin profiler --example names_cost
	$(if $(FILE),,cargo build --profile described --locked -p profiler --bin profiler)
	target/release/examples/names_cost target/release/profiler $(or $(FILE),target/described/profiler)

fuzz-names: build setup-test ## a million damaged ELF files and 10,000 changing ones through the sandbox (about 15 minutes, root)
	@NAMES_MUTATED=1000000 NAMES_TRUNCATED=10000 scripts/full-run.sh "1000000 damaged files" scripts/full-run.sh "10000 changing files" \
	  scripts/as-root.sh cargo test --release --locked -p profiler --test hostile_files -- --nocapture --test-threads=1

fuzz: setup web ## coverage-guided fuzzing of the parsers of foreign bytes (about 10 minutes, FUZZ_SECONDS=60 each of four targets)
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh

bench-store: build ## simulated hosts' day and month: size, speed, answers, beside pprof and plain rows (about 2 hours; HOSTS="64 CPUs x 19": 40 min; SCALE=0.01: 4 min)
	@scripts/setup.sh bench
	cargo run --release --locked -p profiler --example bench_store

bench-unwind: build setup-test ## share of whole stacks of 26 real programs, beside perf and bpftrace (about 10 minutes, root; PROGRAMS="git xz" takes fewer)
	cargo build --release --locked -p profiler --example unwind_table
	@scripts/as-root.sh scripts/bench-unwind.sh

bench-languages: build ## what users of each language that is installed here get: whole stacks, names, functions of scripts (about 4 minutes, root; LANGUAGES="python java")
	@scripts/as-root.sh scripts/bench-languages.py

bench-walk: build setup-test ## what the walk costs in the kernel, beside a bare bpf_get_stack, in time and memory (about 3 minutes, root, a quiet machine)
	cargo build --release --locked -p profiler --example walk_cost
	@scripts/as-root.sh scripts/bench-walk.sh $(ARGS)

bench-web: setup-test web ## the page beside d3-flame-graph, speedscope and an inferno SVG in one Chromium (about 6 minutes)
	@scripts/bench-web.sh

screenshots: build setup-test ## take the README's four pictures of a demo workload (about 2 minutes, root)
	@scripts/screenshots.sh

clean: ## remove everything built
	cargo clean; rm -rf web/dist web/node_modules
