#!/usr/bin/env bash
# How fast the page is, beside d3-flame-graph, speedscope (npm) and an SVG by inferno, with 100,000 and 1,000,000 nodes. Nothing
# of it is needed to build or test: it is installed here. BENCH=ours,d3 measures only those.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${XDG_CACHE_HOME:-$HOME/.cache}/profiler-build/inferno
(cd web/e2e/bench && npm ci --silent)
[ -x "$tools/bin/inferno-flamegraph" ] || cargo install --quiet --locked inferno@0.12.8 --no-default-features --features cli --root "$tools"
cd web
INFERNO=$tools/bin/inferno-flamegraph BENCH=${BENCH:-1} npm run --silent e2e -- bench
