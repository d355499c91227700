package loadgen

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pipeline/lake/perf"
)

func TestRunChat(t *testing.T) {
	s := serve(t, good, nil)
	w := closedLoop(Chat, 4, 20)
	w.Warmup = 3
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w, Token: "secret", Header: http.Header{"X-Test": {"yes"}}})
	onlyDoubts(t, result, "isl_by_words")
	if len(result.Requests) != 23 || len(s.got) != 23 {
		t.Fatalf("%d requests, the server got %d; want 3 + 20", len(result.Requests), len(s.got))
	}
	for i, r := range result.Requests {
		if r.Warmup != (i < 3) || (i >= 3 && r.Index != i-3) || r.Session != r.Index || r.Turn != 0 {
			t.Errorf("request %d: warmup %v, index %d, session %d", i, r.Warmup, r.Index, r.Session)
		}
		if !r.OK() || r.OSL != 5 || r.ISL != 12 || r.TokenSource != "usage" || r.Finish != "length" || len(r.ChunkNS) != 5 || r.Cached != nil {
			t.Errorf("request %d: %+v", i, r)
		}
		order := []int64{r.IntendedNS, r.SentNS, r.ByteNS, r.EventNS, r.FirstNS, r.LastNS, r.DoneNS, r.EndNS}
		if !slices.IsSorted(order) || r.WroteNS < r.SentNS || r.ChunkNS[0] != r.FirstNS || r.ChunkNS[4] != r.LastNS {
			t.Errorf("request %d: times out of order: %+v", i, r)
		}
	}
	prompts := map[string]bool{}
	for _, a := range s.got {
		prompts[a.text()] = true
		if a.Header.Get("Authorization") != "Bearer secret" || a.Header.Get("X-Test") != "yes" || !a.Ignore || a.Min == nil || *a.Min != 5 || !a.Stream || a.raw["model"] != "m" {
			t.Errorf("asked %+v", a.raw)
		}
	}
	if len(prompts) != 23 {
		t.Errorf("%d prompts differ, want all 23", len(prompts))
	}
	if result.PromptDigest == "" || result.Simulated || result.Tokenizer || result.Client.ReusedConns == 0 || result.Client.GOMAXPROCS == 0 {
		t.Errorf("%+v", result)
	}
	m := perf.Assess(result.Requests, w, nil)
	if m.Summary.Requests != 20 || m.Summary.OSL.Mean != 5 || m.Status != perf.Full {
		t.Errorf("%s %q", m.Status, m.Reasons)
	}
}

func TestRunCompletions(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, a asked) {
		w.Header().Set(SimulatedHeader, "1")
		good(w, a)
	}, nil)
	w := closedLoop(Completions, 2, 6)
	temperature := 0.0
	w.Temperature, w.IgnoreEOS = &temperature, false
	result := mustRun(t, Config{BaseURL: s.URL + "/v1/", Workload: w})
	onlyDoubts(t, result, "isl_by_words")
	if !result.Simulated {
		t.Error("the mark of a simulated endpoint was not seen")
	}
	for _, a := range s.got {
		if a.raw["temperature"] != 0.0 || a.Ignore || a.Min != nil || a.Path != "/v1/completions" {
			t.Errorf("asked %+v", a.raw)
		}
	}
	for _, r := range result.Requests {
		if !r.OK() || r.OSL != 5 || r.EventNS != r.FirstNS {
			t.Errorf("%+v", r)
		}
	}
}

// A closed loop has all its streams in flight, and never more.
func TestClosedLoopConcurrency(t *testing.T) {
	const streams = 8
	var now, most, came atomic.Int64
	var together sync.WaitGroup
	together.Add(streams)
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if !a.probe() {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if came.Add(1) <= streams {
				together.Done()
				together.Wait() // for ever, unless all streams come at once
			}
		}
		good(w, a)
	}, nil)
	result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, streams, 80)})
	if most.Load() != streams {
		t.Errorf("%d in flight at most, want %d", most.Load(), streams)
	}
	// A slot is due again the instant its request has ended: the time of the
	// server is never in the lag.
	ends := map[int64]bool{}
	for _, r := range result.Requests {
		ends[r.EndNS] = true
	}
	due := 0
	for _, r := range result.Requests {
		if ends[r.IntendedNS] {
			due++
		}
	}
	if due != 80-streams {
		t.Errorf("%d requests were due at the end of another, want %d", due, 80-streams)
	}
}

// An open loop sends by its schedule while the server stands still, and the
// standstill shows in the latency from the intended time.
func TestOpenLoopStall(t *testing.T) {
	const n = 30
	var waiting sync.WaitGroup
	waiting.Add(n)
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if !a.probe() {
			waiting.Done()
			waiting.Wait() // until all have come: a closed loop would never get here
		}
		good(w, a)
	}, nil)
	w := perf.Workload{API: Chat, Arrival: perf.Constant, RequestRate: 2000, NumPrompts: n, ISL: 8, OSL: 2}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	if len(result.Requests) != n {
		t.Fatalf("%d requests", len(result.Requests))
	}
	for i, r := range result.Requests {
		// 2000 a second: 0.5 ms apart, whatever the server did.
		if want := result.Requests[0].IntendedNS + int64(i)*500_000; r.IntendedNS != want || r.SentNS < r.IntendedNS || !r.OK() {
			t.Errorf("request %d: intended %d, want %d; %+v", i, r.IntendedNS, want, r)
		}
	}
}

// With a limit, requests wait for a slot: the wait is in the intended latency
// and not in the latency from sending, and the schedule does not move.
func TestOpenLoopCoordinatedOmission(t *testing.T) {
	const n = 20
	schedule := arrivals(3, n, 1000, perf.Poisson)
	var first atomic.Bool
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if !a.probe() && !first.Swap(true) {
			// The server stalls until all are due and wait for the slot. One that
			// found it free, however late, was acquired when it was due.
			time.Sleep(time.Duration(schedule[n-1]) + 250*time.Millisecond)
		}
		good(w, a)
	}, nil)
	w := perf.Workload{API: Chat, Arrival: perf.Poisson, RequestRate: 1000, Concurrency: 1, NumPrompts: n, ISL: 8, OSL: 2, Seed: 3}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	stalled := slices.MinFunc(result.Requests, func(a, b perf.Request) int { return int(a.SentNS - b.SentNS) })
	for i, r := range result.Requests {
		if r.IntendedNS-result.Requests[0].IntendedNS != schedule[i] {
			t.Errorf("request %d was due %d after the first, want %d", i, r.IntendedNS-result.Requests[0].IntendedNS, schedule[i])
		}
		if r.Index == stalled.Index {
			continue
		}
		if r.SentNS < stalled.EndNS || r.AcquiredNS < stalled.EndNS || r.AcquiredNS > r.SentNS {
			t.Errorf("request %d was sent at %d, acquired %d, before the slot was free at %d", i, r.SentNS, r.AcquiredNS, stalled.EndNS)
		}
	}
	sum := perf.Summarize(result.Requests, perf.Whole(result.Requests), w)
	// The request due second waited at least the rest of the stall.
	if rest := float64(schedule[n-1]-schedule[1]) / 1e6; sum.TTFTIntended.Max < rest {
		t.Errorf("the longest intended TTFT is %v ms, the stall was %v", sum.TTFTIntended.Max, rest)
	}
}

func TestMultiTurn(t *testing.T) {
	s := serve(t, good, nil)
	w := closedLoop(Chat, 2, 7) // 3 conversations: 3 + 3 + 1 turns
	w.Turns = 3
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	if len(result.Requests) != 7 {
		t.Fatalf("%d requests, want 7", len(result.Requests))
	}
	last := map[int]perf.Request{}
	for _, r := range slices.SortedFunc(slices.Values(result.Requests), func(a, b perf.Request) int { return int(a.SentNS - b.SentNS) }) {
		if r.Turn != 0 {
			before := last[r.Session]
			if before.Turn != r.Turn-1 || r.SentNS < before.EndNS || r.IntendedNS != before.EndNS {
				t.Errorf("turn %d of %d came after turn %d", r.Turn, r.Session, before.Turn)
			}
		}
		last[r.Session] = r
	}
	byLength := map[int]int{}
	for _, a := range s.got {
		byLength[len(a.Messages)]++
		for i, m := range a.Messages {
			if role := []string{"user", "assistant"}[i%2]; m.Role != role {
				t.Errorf("message %d is of %s", i, m.Role)
			}
			if m.Role == "assistant" && m.Content != " t0 t1 t2 t3 t4" {
				t.Errorf("the history holds %q", m.Content)
			}
		}
	}
	if byLength[1] != 3 || byLength[3] != 2 || byLength[5] != 2 {
		t.Errorf("messages a request: %v", byLength)
	}
}

func TestConversations(t *testing.T) {
	s := serve(t, good, nil)
	w := closedLoop(Chat, 1, 3)
	w.ISL, w.OSL, w.Warmup = 0, 4, 1
	conv := []Conversation{
		{System: "be brief", Turns: []Turn{{User: "one", Assistant: "recorded"}, {User: "two", OSL: 2}}},
		{Turns: []Turn{{User: "three"}}},
		{Turns: []Turn{{User: "warm"}}},
	}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w, Conversations: conv})
	onlyDoubts(t, result)
	if got := fmt.Sprint(s.got[0].Messages, s.got[1].Messages, s.got[2].Messages, s.got[3].Messages); got !=
		"[{user warm}] [{system be brief} {user one}] [{system be brief} {user one} {assistant recorded} {user two}] [{user three}]" {
		t.Errorf("asked %s", got)
	}
	if s.got[2].Max != 2 || s.got[3].Max != 4 {
		t.Errorf("max_tokens %d and %d, want 2 and 4", s.got[2].Max, s.got[3].Max)
	}
	w.NumPrompts = 4
	if _, err := Run(t.Context(), Config{BaseURL: s.URL, Model: "m", Workload: w, Conversations: conv}); err == nil {
		t.Error("too few conversations were taken")
	}
	w.API, w.NumPrompts, w.Warmup = Completions, 1, 0
	s.got = nil
	mustRun(t, Config{BaseURL: s.URL, Workload: w, Conversations: []Conversation{{Turns: []Turn{{Tokens: []int{5, 6, 7}}}}}})
	if fmt.Sprint(s.got[0].Prompt) != "[5 6 7]" {
		t.Errorf("token ids went out as %v", s.got[0].Prompt)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if n.Add(1) == 10 {
			cancel()
			stand(w)
		}
		good(w, a)
	}, nil)
	result, err := Run(ctx, Config{BaseURL: s.URL, Model: "m", Workload: closedLoop(Chat, 1, 1000)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(result.Requests) != 8 { // the probe, 8 answers, and the one cut off, which is no outcome of the server
		t.Errorf("%d requests", len(result.Requests))
	}
}

func TestHooksAndProgress(t *testing.T) {
	var order []string
	s := serve(t, good, map[string]http.HandlerFunc{"/reset_prefix_cache": func(http.ResponseWriter, *http.Request) {}})
	w := closedLoop(Chat, 2, 4)
	w.Warmup = 2
	var last Progress
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w, ResetPrefixCache: true,
		BeforeMeasured: func() error { order = append(order, fmt.Sprint("before ", len(s.got))); return nil },
		AfterMeasured:  func() { order = append(order, fmt.Sprint("after ", len(s.got))) },
		OnProgress:     func(p Progress) { last = p },
	})
	if fmt.Sprint(order) != "[before 2 after 6]" || result.PrefixCacheReset != "done" {
		t.Errorf("%v, reset %q", order, result.PrefixCacheReset)
	}
	if last.Warmup || last.Done != 4 || last.Total != 4 || last.Failed != 0 || last.InFlight != 0 || !(last.TTFTms > 0) {
		t.Errorf("%+v", last)
	}
	stop := errors.New("stop")
	if _, err := Run(t.Context(), Config{BaseURL: s.URL, Model: "m", Workload: w, BeforeMeasured: func() error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func TestTLS(t *testing.T) {
	s := &server{}
	s.Server = httptest.NewTLSServer(s.handler(t, good, nil))
	defer s.Close()
	w := closedLoop(Chat, 2, 6)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w, TLS: TLS{CAFile: ca}})
	onlyDoubts(t, result, "isl_by_words")
	for _, r := range result.Requests {
		if !r.OK() || r.SentNS < 0 || r.FirstNS < r.SentNS {
			t.Errorf("%+v", r)
		}
	}
	result = mustRun(t, Config{BaseURL: s.URL, Workload: w, TLS: TLS{InsecureSkipVerify: true}})
	onlyDoubts(t, result, "isl_by_words", "tls_not_verified")
	result = mustRun(t, Config{BaseURL: s.URL, Workload: w})
	if m := perf.Assess(result.Requests, w, nil); m.Status != perf.Failed || !strings.Contains(m.Failure, "certificate") {
		t.Errorf("a certificate of nobody was taken: %s %s", m.Status, m.Failure)
	}
	if _, err := Run(t.Context(), Config{BaseURL: s.URL, Model: "m", Workload: w, TLS: TLS{CAFile: "absent.pem"}}); err == nil {
		t.Error("an absent CA file was taken")
	}
}

func TestCalibrate(t *testing.T) {
	s := serve(t, good, nil)
	c := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 1, 1), Calibrate: true}).Client
	if !(c.RequestCostUS > 0) || !(c.EventsMaxRate > 0) {
		t.Errorf("%+v", c)
	}
}

func TestConfigCheck(t *testing.T) {
	ok := Config{BaseURL: "http://h:1", Model: "m", Workload: closedLoop(Chat, 1, 1)}
	if err := ok.check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *Config){
		"base URL":         func(c *Config) { c.BaseURL = "h:1" },
		"more than a path": func(c *Config) { c.BaseURL = "http://h:1/v1?key=x" },
		"user name":        func(c *Config) { c.BaseURL = "http://u:p@h:1" },
		"model":            func(c *Config) { c.Model = "" },
		"api":              func(c *Config) { c.Workload.API = "responses" },
		"num_prompts":      func(c *Config) { c.Workload.NumPrompts = 0 },
		"concurrency":      func(c *Config) { c.Workload.Concurrency = 0 },
		"request_rate_rps": func(c *Config) { c.Workload.Arrival = perf.Poisson },
		"arrival":          func(c *Config) { c.Workload.Arrival = "" },
		"isl":              func(c *Config) { c.Workload.ISL = 0 },
		"shared_prefix":    func(c *Config) { c.Workload.SharedPrefix = 13 },
		"ramp_up_s":        func(c *Config) { c.Workload.Arrival, c.Workload.RequestRate, c.Workload.RampUpS = perf.Constant, 1, 1 },
		"no turn":          func(c *Config) { c.Conversations = []Conversation{{}} },
	} {
		c := ok
		change(&c)
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: it ran", want)
		}
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	c := Config{Token: "hush-hush"}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%s %q", c.Token, c.Token)} {
		if strings.Contains(text, "hush") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestLimits(t *testing.T) {
	if err := checkLimits(1000, 2000, 10, 28000); err != nil {
		t.Error(err)
	}
	if err := checkLimits(1000, 1024, 10, 28000); err == nil || !strings.Contains(err.Error(), "ulimit -n 1042") { // 1000 + 10 + 32
		t.Errorf("files: %v", err)
	}
	if err := checkLimits(1000, 0, 0, 500); err == nil || !strings.Contains(err.Error(), "ip_local_port_range") {
		t.Errorf("ports: %v", err)
	}
}

// In an open loop, conversations arrive by the schedule and their turns follow
// each other.
func TestOpenLoopTurns(t *testing.T) {
	s := serve(t, good, nil)
	w := perf.Workload{API: Chat, Arrival: perf.Constant, RequestRate: 2000, NumPrompts: 20, ISL: 8, OSL: 2, Turns: 2}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	first, ends := map[int]int64{}, map[int]int64{}
	for _, r := range result.Requests {
		if r.Turn == 0 {
			first[r.Session], ends[r.Session] = r.IntendedNS, r.EndNS
		}
	}
	if len(result.Requests) != 20 || len(first) != 10 {
		t.Fatalf("%d requests of %d conversations", len(result.Requests), len(first))
	}
	for _, r := range result.Requests {
		// 2000 requests a second are 1000 conversations of 2: 1 ms apart.
		if r.Turn == 0 && r.IntendedNS != first[0]+int64(r.Session)*1e6 {
			t.Errorf("conversation %d was due %d after the first", r.Session, r.IntendedNS-first[0])
		}
		if r.Turn == 1 && r.IntendedNS != ends[r.Session] {
			t.Errorf("turn 1 of %d was due at %d, turn 0 ended at %d", r.Session, r.IntendedNS, ends[r.Session])
		}
	}
}
