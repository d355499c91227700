#!/usr/bin/env python3
"""Times plan and no-op run beside ninja's no-op on an equal graph.

The graph is N cells, each a shell command that writes one line, and one node
that reads them all. Both tools are timed in turn, in one run of this script,
as whole processes. Prints Markdown.

    tools/bench_noop.py bin/pipeline 1000 10000 100000
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 7


def timed(cmd, cwd):
    """Returns seconds and peak MB of one process."""
    begin = time.perf_counter()
    pid = subprocess.Popen(cmd, cwd=cwd, stdout=subprocess.DEVNULL).pid
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(cmd)} ended with status {status}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1000


def write_pipeline(where, n):
    (where / "bench.yaml").write_text(f"""campaign: bench
steps:
  - id: cells
    uses: exec
    matrix: {{i: '${{{{ 1..{n // 100} }}}}', j: '${{{{ 1..100 }}}}'}}
    with: {{run: 'echo ${{{{ cell.i }}}}-${{{{ cell.j }}}}'}}
  - {{id: all, uses: exec, in: {{cells: cells}}, with: {{run: 'find "$PIPELINE_IN" -type f | wc -l'}}}}
""")


def write_ninja(where, n):
    lines = ["rule cell", "  command = echo $i > $out", "rule all", "  command = ls | wc -l > $out"]
    for i in range(1, n + 1):
        lines += [f"build c{i}: cell", f"  i = {i}"]
    lines += ["build all: all | " + " ".join(f"c{i}" for i in range(1, n + 1)), "default all"]
    (where / "build.ninja").write_text("\n".join(lines) + "\n")


def cell(values):
    return f"{statistics.median(values) * 1000:.0f} ({min(values) * 1000:.0f}-{max(values) * 1000:.0f})"


def main():
    pipeline = str(pathlib.Path(sys.argv[1]).resolve())
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    print("| cells | plan ms | no-op run ms | ninja no-op ms | run / ninja | run peak MB | ninja peak MB |")
    print("|---|---|---|---|---|---|---|")
    for n in map(int, sys.argv[2:]):
        with tempfile.TemporaryDirectory(dir=base) as tmp:
            ours, theirs = pathlib.Path(tmp, "pipeline"), pathlib.Path(tmp, "ninja")
            ours.mkdir(), theirs.mkdir()
            write_pipeline(ours, n), write_ninja(theirs, n)
            run, plan = [pipeline, "run", "bench.yaml"], [pipeline, "plan", "bench.yaml"]
            ninja = ["ninja"]
            timed(run + ["--jobs", "4"], ours), timed(ninja, theirs)
            plans, runs, ninjas, mb, nmb = [], [], [], [], []
            for _ in range(RUNS):
                plans.append(timed(plan, ours)[0])
                s, m = timed(run, ours)
                runs.append(s), mb.append(m)
                s, m = timed(ninja, theirs)
                ninjas.append(s), nmb.append(m)
            ratio = statistics.median(a / b for a, b in zip(runs, ninjas))
            print(f"| {n:,} | {cell(plans)} | {cell(runs)} | {cell(ninjas)} | {ratio:.1f} | {max(mb):.0f} | {max(nmb):.0f} |", flush=True)


main()
