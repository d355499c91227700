package loadgen

import (
	"strings"
	"testing"

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
	v := lags([]perf.Request{sent(0, 3, 100), waited, warm, never})
	if len(v.lag) != 2 || v.lag[0] != 3 || v.lag[1] != 2 || v.sent != 2 || v.events != 8 || v.coalesced != 2 {
		t.Errorf("%+v", v)
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		name    string
		client  perf.Client
		latency float64
		want    string
	}{
		{"idle", perf.Client{LagP99ms: 0.1, CPUShare: 0.1, GOMAXPROCS: 2}, 1000, ""},
		{"slow server, prompt client", perf.Client{LagP99ms: 9, CPUShare: 0.1, GOMAXPROCS: 2}, 60000, ""},
		{"late, but 1% of a long latency is more", perf.Client{LagP99ms: 20, GOMAXPROCS: 2}, 2000, ""},
		{"late", perf.Client{LagP99ms: 20, GOMAXPROCS: 2}, 1999, "late"},
		{"cores", perf.Client{CPUShare: 0.95, GOMAXPROCS: 2}, 1000, "cores"},
		{"both", perf.Client{LagP99ms: 50, CPUShare: 0.95, GOMAXPROCS: 2}, 100, "; "},
	} {
		got := bound(&c.client, c.latency)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if d := healthDoubts(&perf.Client{LagP99ms: 5}, 100); len(d) != 1 || !strings.HasPrefix(d[0], "client_lag:") {
		t.Errorf("%q", d)
	}
	steal := 0.2
	if d := healthDoubts(&perf.Client{StealShare: &steal, GCPauseMaxms: 11}, 100); len(d) != 2 {
		t.Errorf("%q", d)
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
