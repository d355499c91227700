#!/usr/bin/env bash
# Installs the Debian packages that tests and benchmarks start for real, where
# they are missing. What comes from PyPI is fetched by the tests themselves
# into virtual environments of their own.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need ninja ninja-build
need chromium chromium
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
	echo "installing: ${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
