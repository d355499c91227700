package aiperf

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pipeline/lake/perf"
)

// BenchmarkImport reads a run to a measurement: records to percentiles, windows,
// judgement and digests. tools/bench_import.py runs it as a process of its own
// with a million requests, in the folder BENCH_IMPORT_DIR, beside other readers.
func BenchmarkImport(b *testing.B) {
	dir, requests := os.Getenv("BENCH_IMPORT_DIR"), 20_000
	if n, err := strconv.Atoi(os.Getenv("BENCH_IMPORT_REQUESTS")); err == nil {
		requests = n
	}
	if dir == "" {
		dir = b.TempDir()
	}
	path := filepath.Join(dir, recordsFile)
	if _, err := os.Stat(path); err != nil {
		if err := makeRun(path, requests, 128); err != nil {
			b.Fatal(err)
		}
		if os.Getenv("BENCH_IMPORT_DIR") != "" {
			return // read it in another process, whose memory is that of the reader alone
		}
	}
	for b.Loop() {
		run, err := Read(dir)
		if err != nil {
			b.Fatal(err)
		}
		m, err := run.Measurement(perf.Workload{Arrival: perf.Closed, Concurrency: madeStreams}, nil)
		if err != nil {
			b.Fatal(err)
		}
		s := &m.Summary
		b.ReportMetric(float64(s.Requests), "requests")
		b.ReportMetric(s.DurationS, "duration_s")
		b.ReportMetric(s.OutputTokens, "output_tokens")
		for name, d := range map[string]*perf.Dist{"ttft_ms": s.TTFT, "tpot_ms": s.TPOT, "e2e_ms": s.E2E, "itl_ms": s.ITL} {
			for stat, v := range map[string]float64{"mean": d.Mean, "p50": d.P50, "p90": d.P90, "p95": d.P95, "p99": d.P99} {
				b.ReportMetric(v, name+"_"+stat)
			}
		}
	}
}

// madeStreams is the concurrency of the run that is made.
const madeStreams = 256

// makeRun writes records as AIPerf 0.13 does, of a closed loop with answers of
// about osl tokens. The same arguments give the same bytes.
func makeRun(path string, requests, osl int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	next := make([]int64, madeStreams) // when each stream is free
	for k := range next {
		next[k] = 1795649646_000000000 + int64(k)*1_000_000
	}
	var line []byte
	for i := range requests {
		stream := i % madeStreams
		var end int64
		line, end = record(line[:0], rng, i, osl, next[stream])
		next[stream] = end + 200_000 + rng.Int64N(300_000)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// record appends one line, and returns when its request ended.
func record(b []byte, rng *rand.Rand, i, osl int, start int64) ([]byte, int64) {
	id := func() string {
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", rng.Uint32(), rng.Uint32()&0xffff, rng.Uint32()&0xfff, rng.Uint32()&0xfff, rng.Uint64()&0xffffffffffff)
	}
	logNormal := func(middle, spread float64) int64 { return int64(middle * math.Exp(spread*rng.NormFloat64())) }
	ms := func(ns int64) string { return strconv.FormatFloat(float64(ns)*1e-6, 'f', -1, 64) }
	ttft := logNormal(180e6, 0.4)
	tokens := max(2, osl-8+rng.IntN(17))
	gaps := make([]byte, 0, 20*tokens)
	var decode int64
	for k := range tokens - 1 {
		gap := logNormal(18e6, 0.08)
		decode += gap
		if k > 0 {
			gaps = append(gaps, ',')
		}
		gaps = append(gaps, ms(gap)...)
	}
	latency := ttft + decode
	end := start + latency + rng.Int64N(200_000)
	isl := 1000 + rng.IntN(50)
	correlation := id()
	itl := float64(decode) / float64(tokens-1) * 1e-6
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	b = fmt.Appendf(b, `{"metadata":{"session_num":%d,"x_request_id":"%s","x_correlation_id":"%s","conversation_id":"session_%06d","turn_index":0,`+
		`"credit_issued_ns":%d,"request_start_ns":%d,"request_ack_ns":%d,"request_end_ns":%d,"worker_id":"worker_%08x","record_processor_id":"record_processor_%08x",`+
		`"benchmark_phase":"profiling","phase_index":1,"profiling_index":0,"phase_name":"profiling","phase_kind":"profiling","was_cancelled":false,`+
		`"context_overflow_skip":false,"agent_depth":0,"root_correlation_id":"%s"},"metrics":{`,
		i, id(), correlation, i, start-150_000, start, start+4_000_000, end, 0xeb18ec60+i%4, 0xf4b8ffbe+i%2, correlation)
	b = fmt.Appendf(b, `"http_req_dns_lookup":{"value":0.0,"unit":"ms"},"http_req_waiting":{"value":%s,"unit":"ms"},"http_req_sending":{"value":%s,"unit":"ms"},`+
		`"http_req_blocked":{"value":0.0,"unit":"ms"},"http_req_receiving":{"value":%s,"unit":"ms"},"http_req_connecting":{"value":0.0,"unit":"ms"},`+
		`"usage_total_tokens":{"value":%d,"unit":"tokens"},"inter_chunk_latency":{"value":[%s],"unit":"ms"},"request_latency":{"value":%s,"unit":"ms"},`+
		`"http_req_data_sent":{"value":4.3056640625,"unit":"KB"},"output_sequence_length":{"value":%d,"unit":"tokens"},"http_req_duration":{"value":%s,"unit":"ms"},`,
		ms(ttft-300_000), ms(213_692), ms(decode+27_000), isl+tokens, gaps, ms(latency), tokens, ms(latency-80_000))
	b = fmt.Appendf(b, `"input_sequence_length":{"value":%d,"unit":"tokens"},"http_req_chunks_sent":{"value":1,"unit":"count"},"time_to_first_token":{"value":%s,"unit":"ms"},`+
		`"usage_prompt_cache_read_tokens":{"value":0,"unit":"tokens"},"usage_prompt_tokens":{"value":%d,"unit":"tokens"},"usage_completion_tokens":{"value":%d,"unit":"tokens"},`+
		`"time_to_second_token":{"value":%s,"unit":"ms"},"http_req_chunks_received":{"value":%d,"unit":"count"},"http_req_data_received":{"value":%s,"unit":"KB"},`+
		`"output_token_count":{"value":%d,"unit":"tokens"},"http_req_connection_reused":{"value":1,"unit":"ratio"},"time_to_first_output_token":{"value":%s,"unit":"ms"},`+
		`"http_req_total":{"value":%s,"unit":"ms"},"http_req_connection_overhead":{"value":0.0,"unit":"ms"},"e2e_output_token_throughput":{"value":%s,"unit":"tokens/sec/user"},`+
		`"osl_mismatch_diff_pct":{"value":0.0,"unit":"%%"},"prefill_throughput_per_user":{"value":%s,"unit":"tokens/sec/user"},"decode_duration":{"value":%s,"unit":"ms"},`+
		`"inter_token_latency":{"value":%s,"unit":"ms"},"output_token_throughput_per_user":{"value":%s,"unit":"tokens/sec/user"}}}`+"\n",
		isl, ms(ttft), isl, tokens, ms(18_100_000), tokens+1, number(float64(tokens)*0.28), tokens, ms(ttft), ms(latency-70_000),
		number(float64(tokens)/float64(latency)*1e9), number(float64(isl)/float64(ttft)*1e9), ms(decode), number(itl), number(1000/itl))
	return b, end
}
