#!/usr/bin/env bash
# Runs every fuzz target for the given time (default 30s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
for file in $(grep -rl --include='*_test.go' '^func Fuzz' .); do
	pkg=$(dirname "$file")
	for target in $(grep -oh '^func Fuzz[A-Za-z0-9_]*' "$file" | cut -c6-); do
		echo "== $pkg $target"
		go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x
	done
done
