package perf

import (
	"math"
	"strings"
	"testing"
)

// closedRun gives c streams of n requests each, of 100 ms, back to back with a
// gap in ms; stream k starts k ms late.
func closedRun(c, n int, gap int64) []Request {
	var requests []Request
	for k := range c {
		at := int64(k)
		for range n {
			requests = append(requests, answered(len(requests), at, at+20, at+100))
			at += 100 + gap
		}
	}
	return requests
}

func has(doubts []string, code string) bool {
	for _, d := range doubts {
		if strings.HasPrefix(d, code+":") {
			return true
		}
	}
	return false
}

func TestSteadyWindowClosed(t *testing.T) {
	// 4 streams of 10 requests start at 0 1 2 3 ms. All 4 (0.95·4 = 3.8, so 4)
	// are busy from 3 ms until stream 0 ends at 1000 ms. The gaps are none.
	// Sent and ended inside: of stream 0 those sent at 100 … 900, 9; of streams 1
	// and 2 those sent at 101 … 801 and 102 … 802, 8 each (their first was sent
	// before, their last ends after); of stream 3 those sent at 3 … 803, 9: 34 of 40.
	w, doubts := steadyWindow(looked(closedRun(4, 10, 0)).flights, Workload{Arrival: Closed, Concurrency: 4})
	if w == nil || w.FromNS != 3*ms || w.ToNS != 1000*ms || !near(w.Share, 34.0/40) || w.Method == "" {
		t.Fatalf("window %+v", w)
	}
	if len(doubts) != 0 {
		t.Errorf("doubts %q", doubts)
	}
}

func TestSteadyWindowDips(t *testing.T) {
	// The same with 2 ms between requests: each end leaves 3 in flight for 2 ms,
	// below 5% of the 100 ms latency, so the window is one. Stream 0 ends last at
	// 10·100 + 9·2 = 1018 ms.
	w, _ := steadyWindow(looked(closedRun(4, 10, 2)).flights, Workload{Arrival: Closed, Concurrency: 4})
	if w == nil || w.FromNS != 3*ms || w.ToNS != 1018*ms {
		t.Fatalf("window %+v, want 3 to 1018 ms", w)
	}
	// With 60 ms between them the load asked was not there: never 4 requests in
	// one span of full load, each wave one span.
	w, doubts := steadyWindow(looked(closedRun(4, 10, 60)).flights, Workload{Arrival: Closed, Concurrency: 4})
	if w != nil || !has(doubts, "no_steady_window") {
		t.Errorf("window %+v, doubts %q", w, doubts)
	}
}

func TestSteadyWindowOneStream(t *testing.T) {
	w, doubts := steadyWindow(looked(closedRun(1, 10, 1)).flights, Workload{Arrival: Closed, Concurrency: 1})
	if w == nil || w.FromNS != 0 || w.ToNS != 1009*ms || w.Share != 1 || len(doubts) != 0 { // 10·100 + 9·1
		t.Errorf("window %+v, doubts %q", w, doubts)
	}
}

func TestSteadyWindowStraggler(t *testing.T) {
	// 20 streams of 10; one request of the last takes 10 s alone. 0.95·20 = 19
	// streams suffice, so the window ends when the second stream is done, at
	// 1001 ms, and the long tail is left out.
	requests := closedRun(20, 10, 0)
	requests = append(requests, answered(200, 1019, 1020, 11000))
	w, _ := steadyWindow(looked(requests).flights, Workload{Arrival: Closed, Concurrency: 20})
	if w == nil || w.FromNS != 18*ms || w.ToNS != 1001*ms {
		t.Errorf("window %+v, want 18 to 1001 ms", w)
	}
}

func TestRampDoubts(t *testing.T) {
	for _, c := range []struct {
		n, concurrency int
		want           string
	}{{7, 4, "ramp_dominated"}, {8, 4, "few_prompts"}, {39, 4, "few_prompts"}, {40, 4, ""}} {
		doubts := rampDoubts(c.n, c.concurrency)
		if c.want == "" && len(doubts) != 0 || c.want != "" && !has(doubts, c.want) {
			t.Errorf("%d prompts on %d streams: %q, want %q", c.n, c.concurrency, doubts, c.want)
		}
	}
}

func TestSteadyWindowOpen(t *testing.T) {
	// 100 requests, one every 10 ms, each of 100 ms: arrivals 0 to 990 ms, less
	// 100 ms. Sent and ended inside are those sent at 100 … 890: 80 of 100.
	var requests []Request
	for i := range 100 {
		at := int64(10 * i)
		requests = append(requests, answered(i, at, at+20, at+100))
	}
	w, doubts := steadyWindow(looked(requests).flights, Workload{Arrival: Poisson, RequestRate: 100})
	if w == nil || w.FromNS != 100*ms || w.ToNS != 990*ms || !near(w.Share, 0.80) || len(doubts) != 0 {
		t.Errorf("window %+v, doubts %q", w, doubts)
	}
}

func TestOverload(t *testing.T) {
	// Arrivals every 10 ms for 6 s; the server does one in 15 ms, so request i
	// ends at 15(i+1) ms and about i/3 are in flight when i arrives: a third of
	// 100 more each second. The window is about 2.7 to 6 s, with about 117 in
	// flight in its first half and 172 in its second: 1.47 times as many, and 55
	// more, where chance makes 2·sqrt(117+172) = 34.
	var requests []Request
	for i := range 600 {
		at, end := int64(10*i), int64(15*(i+1))
		r := answered(i, at, end, end)
		requests = append(requests, r)
	}
	w, doubts := steadyWindow(looked(requests).flights, Workload{Arrival: Constant, RequestRate: 100})
	if w == nil || !has(doubts, "overloaded") {
		t.Errorf("window %+v, doubts %q; want overloaded", w, doubts)
	}
	if got := growthScatter(12.2, 15.8); math.Abs(got-10.58) > 0.01 { // 2·sqrt(28)
		t.Errorf("scatter %v, want 10.58", got)
	}
}

func TestSteadyWindowNothing(t *testing.T) {
	for _, w := range []Workload{{Arrival: Closed, Concurrency: 4}, {Arrival: Poisson}} {
		if got, doubts := steadyWindow(looked(nil).flights, w); got != nil || !has(doubts, "no_steady_window") {
			t.Errorf("window %+v, doubts %q", got, doubts)
		}
	}
}
