"""Serve a GGUF file over HTTP with llama.cpp's own server, from the xllamacpp wheel.

    python llamaserver.py --model PATH --port N [--alias NAME] [--context N] [--parallel N] [--metrics]

The wheel holds llama.cpp's server compiled in, so what answers is its C++ code;
this file only sets the parameters and waits for a signal.
"""

import argparse
import signal

import xllamacpp


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--alias", default="tiny-random-llama")
    p.add_argument("--context", type=int, default=8192, help="longest prompt plus answer of one request, in tokens")
    p.add_argument("--parallel", type=int, default=4, help="slots: requests decoded together")
    p.add_argument("--metrics", action="store_true", help="answer /metrics")
    a = p.parse_args()

    c = xllamacpp.CommonParams()
    c.model.path = a.model
    c.model_alias = {a.alias}
    c.hostnames = ["127.0.0.1"]
    c.port = a.port
    c.n_ctx = a.context * a.parallel
    c.n_parallel = a.parallel
    c.cpuparams.n_threads = 1
    c.cpuparams_batch.n_threads = 1
    c.endpoint_metrics = a.metrics
    c.warmup = False
    c.ui = False

    server = xllamacpp.Server(c)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
