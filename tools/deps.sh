#!/usr/bin/env bash
# Installs the Debian packages that the tests use, and with the argument "bench"
# also those of the benchmarks and pictures, where they are missing. What comes
# from PyPI is fetched by the tests themselves into virtual environments.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need curl curl
need strings binutils
need prometheus prometheus
need promtool prometheus
need clickhouse-server clickhouse-server
if [ "${1:-}" = bench ]; then
	need ninja ninja-build
	need tmux tmux
	need chromium chromium
fi
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
	echo "installing: ${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
