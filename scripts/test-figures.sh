#!/usr/bin/env bash
# The page's figures against the samples of random histories: a real server, and the page's own code in Node. SEEDS names others.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-debug}
flag=(); [ "$profile" = release ] && flag=(--release)
cargo build -q --locked "${flag[@]}" -p profiler --bin profiler --example random_profile
PROFILER=$PWD/target/$profile/profiler RANDOM_PROFILE=$PWD/target/$profile/examples/random_profile \
  web/node_modules/.bin/vitest run --config web/e2e/figures.config.ts
