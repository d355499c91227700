#!/usr/bin/env bash
# Makes the pictures of the README from a real run of the seed campaign:
# the terminal in the middle of it, and the page that it renders.
# Needs tmux and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'tmux kill-session -t pictures 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir -p docs/images

tmux new-session -d -s pictures -x 108 -y 24 "env -u CI TERM=xterm-256color bin/pipeline run specs/glm-fp8.yaml --home $work/home; touch $work/done; sleep 1000"
wanted='config=fp8-tp4,concurrency=16.*TTFT'
until tmux capture-pane -t pictures -p | grep -q "$wanted"; do sleep 0.2; done
tmux capture-pane -t pictures -e -p | tools/ansi_svg.py > docs/images/run.svg
until [ -e "$work/done" ]; do sleep 0.5; done

chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update \
	--disable-sync --user-data-dir="$work/profile" --window-size=1200,2250 --hide-scrollbars \
	--screenshot=docs/images/report.png "file://$work/home/out/glm-fp8/report/report.html" >/dev/null 2>&1
