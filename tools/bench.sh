#!/usr/bin/env bash
# All benchmarks. The figures in docs/benchmarks.md come from here.
#   tools/bench.sh            everything
#   tools/bench.sh noop       only the named part: noop, startup, engine, generator, import
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
is() { [ "$part" = all ] || [ "$part" = "$1" ]; }

if is noop; then
	echo "## Plan and no-op run beside ninja"
	python3 tools/bench_noop.py bin/pipeline ${CELLS:-1000 10000 100000}
fi
if is startup; then
	echo "## Start-up: pipeline version, ten runs"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		python3 -c 'import subprocess, sys, time
t = time.perf_counter(); subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); print(f"{(time.perf_counter() - t) * 1000:.1f} ms")' bin/pipeline version
	done
fi
if is engine; then
	echo "## Planning, keys, commits"
	go test -run '^$' -bench . -benchmem ./pipelines ./engine/...
fi
if is generator; then
	echo "## The load generator against a server in another process"
	go test -run '^$' -bench Fidelity -benchtime 1x ./internal/loadgen
fi
if is import; then
	echo "## A million records of AIPerf to percentiles, beside DuckDB and pandas"
	tools/bench_import.py ${REQUESTS:-1000000}
fi
if is fidelity; then
	echo "## Three load generators against a server that knows when it wrote each token"
	go test -run '^$' -bench Drivers -benchtime 1x -timeout 60m ./steps/cellrun
fi
