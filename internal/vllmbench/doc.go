// Package vllmbench reads what `vllm bench serve` and its forks write: the
// result block on its output (ReadLog) and its result file (ReadResults), plain
// or with a record of each request (--save-detailed).
//
// Both give a perf.Report: milliseconds, sample deviations, and nothing where
// the tool writes a zero for want of a value. What its numbers mean:
//
//   - TTFT is the first event with choices. With the chat API that may be an
//     event with a role and no content.
//   - TPOT is (last - first)/(output tokens - 1) of a request, as ours.
//   - ITL is the gap between events, not tokens.
//   - A duration runs from the first task to the end of the last: ramp, drain
//     and failed requests are in it.
//   - Deviations are of a population.
//   - Where all requests failed, all latencies are 0 and the exit code is 0.
package vllmbench
