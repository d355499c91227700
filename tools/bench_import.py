#!/usr/bin/env python3
"""Times reading the records of a large run of AIPerf to percentiles.

The run is made once (deterministic, as AIPerf 0.13 writes it: closed loop, 256
streams, 128 output tokens, so about 4 KB a request). Then this reader, DuckDB
and pandas read it, each as a process of its own, in turn, in one run of this
script. All must give the same numbers. Prints Markdown.

    tools/bench_import.py 1000000
"""

import ast
import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3
HERE = pathlib.Path(__file__).resolve().parent
STATS = ["mean", "p50", "p90", "p95", "p99"]

DUCKDB = """
import duckdb, sys
con = duckdb.connect()
con.execute("SET preserve_insertion_order=false; SET enable_progress_bar=false")
value = "STRUCT(value DOUBLE)"
columns = ("{metadata: 'STRUCT(benchmark_phase VARCHAR, request_start_ns BIGINT, request_end_ns BIGINT)', metrics: 'STRUCT("
    f"time_to_first_token {value}, request_latency {value}, inter_token_latency {value}, output_sequence_length {value}, "
    "inter_chunk_latency STRUCT(value DOUBLE[]))', error: 'JSON'}")
source = (f"read_json('{sys.argv[1]}', format='newline_delimited', columns={columns}) "
    "WHERE metadata.benchmark_phase = 'profiling' AND error IS NULL")
q = "[0.5, 0.9, 0.95, 0.99]"
def dist(x): return f"avg({x}), quantile_cont({x}, {q})"
m = "metrics."
row = con.execute(f"SELECT count(*), (max(metadata.request_end_ns) - min(metadata.request_start_ns)) / 1e9, sum({m}output_sequence_length.value), "
    f"{dist(m + 'time_to_first_token.value')}, {dist(m + 'inter_token_latency.value')}, {dist(m + 'request_latency.value')} FROM {source}").fetchone()
itl = con.execute(f"SELECT {dist('g')} FROM (SELECT unnest({m}inter_chunk_latency.value) g FROM {source})").fetchone()
out = {"requests": row[0], "duration_s": row[1], "output_tokens": row[2]}
for name, mean, rest in [("ttft_ms", *row[3:5]), ("tpot_ms", *row[5:7]), ("e2e_ms", *row[7:9]), ("itl_ms", *itl)]:
    out[name] = [mean, *rest]
print(out)
"""

PANDAS = """
import numpy as np, pandas as pd, sys
lists = {"ttft_ms": [], "tpot_ms": [], "e2e_ms": [], "osl": [], "start": [], "end": []}
gaps = []
tags = {"ttft_ms": "time_to_first_token", "tpot_ms": "inter_token_latency", "e2e_ms": "request_latency", "osl": "output_sequence_length"}
for part in pd.read_json(sys.argv[1], lines=True, chunksize=10_000):
    if "error" in part:
        part = part[part["error"].isna()]
    part = part[part["metadata"].map(lambda m: m["benchmark_phase"] == "profiling")]
    for name, tag in tags.items():
        lists[name].append(part["metrics"].map(lambda m: m[tag]["value"]).to_numpy(float))
    for name in ("start", "end"):
        lists[name].append(part["metadata"].map(lambda m: m[f"request_{name}_ns"]).to_numpy(np.int64))
    gaps += [np.concatenate([m["inter_chunk_latency"]["value"] for m in part["metrics"]])]
all = {name: np.concatenate(parts) for name, parts in lists.items()} | {"itl_ms": np.concatenate(gaps)}
out = {"requests": len(all["ttft_ms"]), "duration_s": (all["end"].max() - all["start"].min()) / 1e9, "output_tokens": float(all["osl"].sum())}
for name in ("ttft_ms", "tpot_ms", "e2e_ms", "itl_ms"):
    out[name] = [float(all[name].mean()), *map(float, np.percentile(all[name], [50, 90, 95, 99]))]
print({k: float(v) if k == "duration_s" else v for k, v in out.items()})
"""


def timed(cmd, env=None):
    """Returns seconds, peak MB and output of one process."""
    with tempfile.TemporaryFile("w+") as out:
        begin = time.perf_counter()
        pid = subprocess.Popen(cmd, stdout=out, env={**os.environ, **(env or {})}).pid
        _, status, usage = os.wait4(pid, 0)
        took = time.perf_counter() - begin
        out.seek(0)
        text = out.read()
    if status != 0:
        sys.exit(f"{cmd[0]} ended with status {status}\n{text}")
    return took, usage.ru_maxrss / 1000, text


def venv():
    """Returns the python of an environment with what readers.txt lists."""
    wanted = HERE / "python" / "readers.txt"
    name = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    where = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pipeline-bench" / name
    python = where / "bin" / "python"
    if not (where / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", where], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", wanted], check=True)
        (where / "ready").touch()
    return str(python)


def ours(text):
    """Brings the metrics of the Go benchmark to the shape of the others."""
    found = {name: float(v) for v, name in re.findall(r"([\d.e+]+) ([a-z]\w+)", text)}
    out = {name: found[name] for name in ("requests", "duration_s", "output_tokens")}
    for name in ("ttft_ms", "tpot_ms", "e2e_ms", "itl_ms"):
        out[name] = [found[f"{name}_{stat}"] for stat in STATS]
    return out


def flat(result):
    return [x for v in result.values() for x in (v if isinstance(v, list) else [v])]


def cell(values, form):
    if len(values) == 1:
        return format(values[0], form)
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def main():
    requests = sys.argv[1]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_IMPORT_TMP")) as tmp:
        tmp = pathlib.Path(tmp)
        subprocess.run(["go", "test", "-c", "-o", tmp / "reader", "./internal/aiperf"], check=True, cwd=HERE.parent)
        run = tmp / "run"
        run.mkdir()
        records = str(run / "profile_export.jsonl")
        reader = [str(tmp / "reader"), "-test.run", "^$", "-test.bench", "^BenchmarkImport$", "-test.benchtime", "1x"]
        env = {"BENCH_IMPORT_DIR": str(run), "BENCH_IMPORT_REQUESTS": requests}
        timed(reader, env)  # makes the run
        size = os.path.getsize(records) / 1e9
        python = venv()
        tools = {"pipeline": (reader, env, ours), "DuckDB": ([python, "-c", DUCKDB, records], None, ast.literal_eval), "pandas": ([python, "-c", PANDAS, records], None, ast.literal_eval)}
        seen = {name: ([], []) for name in tools}
        first = None
        for turn in range(ROUNDS):
            for name, (cmd, more, parse) in tools.items():
                if name == "pandas" and turn > 0:
                    continue  # minutes
                took, peak, text = timed(cmd, more)
                seen[name][0].append(took)
                seen[name][1].append(peak)
                result = parse(text)
                first = first or result
                off = max(abs(a - b) / abs(b) for a, b in zip(flat(result), flat(first)))
                if off > 5e-4:  # Go prints four digits; our gaps come from a histogram with an error of 2.5e-4
                    sys.exit(f"{name} gives other numbers, by {off:.2%}:\n{result}\n{first}")
        print(f"{int(requests):,} requests, {size:.1f} GB")
        print("| reader | seconds | peak MB | times DuckDB |")
        print("|---|---|---|---|")
        base = statistics.median(seen["DuckDB"][0])
        for name, (took, peak) in seen.items():
            print(f"| {name} | {cell(took, '.1f')} | {cell(peak, '.0f')} | {statistics.median(took) / base:.2f} |")


if __name__ == "__main__":
    main()
