package vllmbench

import (
	"fmt"
	"math"
	"strings"

	"pipeline/lake/perf"
)

// detailed are the lists of a result of --save-detailed, an entry a request, in
// seconds. Starts are on a clock of the tool's own; latencies, queued and
// errors may be missing. Queued is taken for an open loop only: in a closed one
// it is how long a request waited for its stream, which nobody asked to be short.
type detailed struct {
	starts, ttfts     []float64
	itls              [][]float64
	latencies, queued []float64
	inputs, outputs   []float64
	errors            []string
}

// MaxSeconds bounds what a time of a run may be: beyond it, it is none.
const MaxSeconds = 1e7

// zero is the instant that offsets count from: when the first request was
// sent, or was due.
func (d *detailed) zero() float64 {
	first := math.Inf(1)
	for i, at := range d.starts {
		if d.queued != nil {
			at -= d.queued[i]
		}
		if at < first {
			first = at
		}
	}
	return first
}

// request returns entry i, its offsets from the instant first.
func (d *detailed) request(i int, first float64) (perf.Request, error) {
	sent, err := offset("start_times", d.starts[i]-first)
	if err != nil {
		return perf.Request{}, err
	}
	r := perf.Request{
		IntendedNS: sent, AcquiredNS: sent, SentNS: sent, WroteNS: perf.Never, ByteNS: perf.Never,
		EventNS: perf.Never, FirstNS: perf.Never, LastNS: perf.Never, DoneNS: perf.Never, EndNS: sent,
		TokenSource: "vllm-bench",
	}
	for _, length := range []struct {
		name string
		v    float64
		to   *int
	}{{"input_lens", d.inputs[i], &r.ISL}, {"output_lens", d.outputs[i], &r.OSL}} {
		if !(length.v >= 0 && length.v < 1<<31) || length.v != math.Trunc(length.v) {
			return r, fmt.Errorf("%s has %v there, which is no count", length.name, length.v)
		}
		*length.to = int(length.v)
	}
	if d.queued != nil {
		waited, err := offset("queue_times", d.queued[i])
		if err != nil {
			return r, err
		}
		r.IntendedNS -= waited
	}
	if err := d.arrivals(i, sent, &r); err != nil {
		return r, err
	}
	d.failed(i, &r)
	return r, nil
}

// arrivals sets when the events of entry i came.
func (d *detailed) arrivals(i int, sent int64, r *perf.Request) error {
	ttft, err := offset("ttfts", d.ttfts[i])
	if err != nil {
		return err
	}
	if ttft > 0 {
		at := sent + ttft
		r.EventNS, r.FirstNS = at, at
		r.ChunkNS = append(r.ChunkNS, at)
		for _, gap := range d.itls[i] {
			ns, err := offset("itls", gap)
			if err != nil {
				return err
			}
			at += ns
			r.ChunkNS = append(r.ChunkNS, at)
		}
		r.LastNS, r.EndNS = at, at
	}
	if d.latencies != nil {
		latency, err := offset("latencies", d.latencies[i])
		if err != nil {
			return err
		}
		r.EndNS = max(r.EndNS, sent+latency)
	}
	return nil
}

// failed marks an entry without an answer.
func (d *detailed) failed(i int, r *perf.Request) {
	message := ""
	if d.errors != nil {
		message = d.errors[i]
	}
	switch {
	case message != "":
	case r.FirstNS < 0:
		message = "the result has no time to the first token"
	case r.OSL == 0:
		message = "the result has no output tokens"
	default:
		return
	}
	const most = 500
	if len(message) > most {
		message = strings.ToValidUTF8(message[len(message)-most:], "") // a traceback ends with its cause
	}
	r.Error = &perf.RequestError{Phase: "stream", Message: message}
}

// offset returns seconds in nanoseconds.
func offset(name string, seconds float64) (int64, error) {
	if !(seconds >= 0 && seconds <= MaxSeconds) {
		return 0, fmt.Errorf("%s has %v s there, which is no span of time", name, seconds)
	}
	return int64(math.Round(seconds * 1e9)), nil
}
