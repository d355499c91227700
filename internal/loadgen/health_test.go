package loadgen

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/lake/perf"
)

// sent is a request due and sent at ms, answered after latency ms.
func sent(due, sentMS, latency int64) perf.Request {
	return perf.Request{IntendedNS: due * 1e6, AcquiredNS: due * 1e6, SentNS: sentMS * 1e6, FirstNS: (sentMS + 1) * 1e6,
		LastNS: (sentMS + latency) * 1e6, EndNS: (sentMS + latency) * 1e6, ChunkNS: make([]int64, 4), Coalesced: 1}
}

func TestLags(t *testing.T) {
	waited := sent(0, 500, 100) // an open loop's request that waited 498 ms for a slot
	waited.AcquiredNS = 498 * 1e6
	warm := sent(0, 900, 100)
	warm.Warmup = true
	never := perf.Request{SentNS: perf.Never}
	requests := []perf.Request{sent(0, 3, 100), waited, warm, never}
	v := lags(requests, false)
	if len(v.lag) != 2 || v.lag[0] != 3 || v.lag[1] != 2 || v.sent != 2 || v.events != 8 || v.coalesced != 2 {
		t.Errorf("%+v", v)
	}
	// First content 1 ms after sending, 4 events over the 99 ms that follow.
	if len(v.ttft) != 2 || v.ttft[0] != 1 || v.ttft[1] != 1 || len(v.itl) != 2 || v.itl[0] != 33 {
		t.Errorf("closed loop: %+v", v)
	}
	if v = lags(requests, true); len(v.ttft) != 2 || v.ttft[0] != 4 || v.ttft[1] != 501 {
		t.Errorf("open loop: TTFT %v from the intended time, want 4 and 501", v.ttft)
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		name    string
		client  perf.Client
		typical medians
		want    string
	}{
		{"idle", perf.Client{LagP99ms: new(0.1), CPUShare: new(0.1), GOMAXPROCS: 2}, medians{ttft: 1000}, ""},
		{"slow server, prompt client", perf.Client{LagP99ms: new(9.0), CPUShare: new(0.1), GOMAXPROCS: 2}, medians{ttft: 60000}, ""},
		{"late, but 1% of a long TTFT is more", perf.Client{LagP99ms: new(20.0), GOMAXPROCS: 2}, medians{ttft: 2000}, ""},
		{"late", perf.Client{LagP99ms: new(20.0), GOMAXPROCS: 2}, medians{ttft: 1999}, "late"},
		{"late, nothing was answered", perf.Client{LagP99ms: new(20.0), GOMAXPROCS: 2}, medians{}, ""},
		{"cores", perf.Client{CPUShare: new(0.95), GOMAXPROCS: 2}, medians{ttft: 1000}, "cores"},
		{"both", perf.Client{LagP99ms: new(50.0), CPUShare: new(0.95), GOMAXPROCS: 2}, medians{ttft: 100}, "; "},
		{"shared fairly", perf.Client{WakeP99ms: new(20.0), GOMAXPROCS: 2}, medians{ttft: 100, itl: 10}, ""},
		{"starved", perf.Client{WakeP99ms: new(20.1), GOMAXPROCS: 2}, medians{ttft: 9000, itl: 200}, "came to run 20.1 ms late"},
		{"starved for its TTFT", perf.Client{WakeP99ms: new(20.1), GOMAXPROCS: 2}, medians{ttft: 2000, itl: 400}, "came to run 20.1 ms late"},
		{"starved, but the server is slower by far", perf.Client{WakeP99ms: new(20.1), GOMAXPROCS: 2}, medians{ttft: 9000, itl: 400}, ""},
	} {
		got := bound(&c.client, c.typical)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	for _, c := range []struct {
		name   string
		client perf.Client
		want   []string
	}{
		{"late", perf.Client{LagP99ms: new(5.0)}, []string{"client_lag:"}},
		{"machine", perf.Client{StealShare: new(0.2), GCPauseMaxms: 11}, []string{"cpu_steal:", "gc_pause:"}},
		{"starved a little", perf.Client{WakeP99ms: new(2.5)}, []string{"client_starved:"}},
		{"shared fairly", perf.Client{WakeP99ms: new(20.0)}, []string{"client_starved:"}},
		{"a millisecond of the timers", perf.Client{WakeP99ms: new(1.5)}, nil},
	} {
		got := healthDoubts(&c.client, medians{ttft: 100, itl: 20})
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// The lag of a request is weighed against its TTFT: against the length of the
// whole answer, 30 ms would be nothing.
func TestLateForItsTTFT(t *testing.T) {
	late := func(i int64) perf.Request {
		r := sent(i*100, i*100+30, 10_000)
		r.FirstNS = r.SentNS + 50*1e6
		return r
	}
	r := &run{conf: Config{Workload: perf.Workload{Arrival: perf.Closed, Concurrency: 1}}, requests: []perf.Request{late(0), late(1), late(2)}}
	if c, _ := r.clientHealth(); !c.Bound || !strings.Contains(c.Why, "60.0% of the median TTFT") {
		t.Errorf("bound %v: %q", c.Bound, c.Why)
	}
}

func TestWatch(t *testing.T) {
	var w watch
	due := time.Unix(0, 0)
	for range 90 { // in time
		due = w.woke(due.Add(wakeEvery), due.Add(wakeEvery+50*time.Microsecond))
	}
	if p99 := w.quantile(0.99); w.n != 90 || p99 != 0.1 {
		t.Errorf("%d instants, p99 %v ms; want 90 and 0.1", w.n, p99)
	}
	// One stop of 20 ms: the instants in it are late by 20, 18, … 2 ms, the one
	// at its end by 0. Rank 100 of the 101 values is 18 ms.
	stop := due.Add(wakeEvery)
	if last := w.woke(stop, stop.Add(10*wakeEvery)); !last.Equal(stop.Add(10 * wakeEvery)) {
		t.Errorf("goes on from %v, want %v", last, stop.Add(10*wakeEvery))
	}
	if p99 := w.quantile(0.99); w.n != 101 || math.Abs(p99-18.1) > 1e-9 {
		t.Errorf("%d instants, p99 %v ms; want 101 and 18.1", w.n, p99)
	}
	w.woke(due, due.Add(time.Minute))
	if p99 := w.quantile(0.99); p99 != 1000 {
		t.Errorf("p99 %v ms, want 1000", p99)
	}
}

// Work that leaves the generator no core for its turn shows, whoever does it.
func TestWatchSeesStarvation(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := startWatch()
	until := time.Now().Add(200 * time.Millisecond)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for time.Now().Before(until) { // burns its core
			}
		})
	}
	wg.Wait()
	if p99 := w.end(); p99 <= 10 {
		t.Errorf("late by %v ms at the 99th percentile, with four that never pause on one core", p99)
	}
}

func TestSteal(t *testing.T) {
	if s := (stealTimes{30, 200}).since(stealTimes{20, 100}); s == nil || *s != 0.1 { // 10 of 100 ticks
		t.Errorf("%v", s)
	}
	if s := (stealTimes{}).since(stealTimes{}); s != nil {
		t.Errorf("unknown is %v", *s)
	}
}

func TestEmptyFirstEvent(t *testing.T) {
	early := sent(0, 0, 100)
	early.EventNS = early.FirstNS - 1
	late := sent(0, 0, 100)
	late.EventNS = late.FirstNS
	r := &run{requests: []perf.Request{early, late, early}}
	r.doubtQuirks()
	if len(r.doubts) != 1 || !strings.HasPrefix(r.doubts[0], "empty_first_event: 2 answers") {
		t.Errorf("%q", r.doubts)
	}
}
