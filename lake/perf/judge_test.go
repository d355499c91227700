package perf

import (
	"strings"
	"testing"
)

func failedRequest(index int, phase string, status int, message string) Request {
	return Request{Index: index, SentNS: int64(index) * ms, FirstNS: Never, LastNS: Never, EndNS: int64(index+1) * ms,
		Error: &RequestError{Phase: phase, Status: status, Message: message}}
}

// run gives n answers of osl tokens, one every ms.
func run(n, osl int) []Request {
	var requests []Request
	for i := range n {
		r := answered(i, int64(i), int64(i)+5, int64(i)+50)
		r.OSL = osl
		requests = append(requests, r)
	}
	return requests
}

func TestJudge(t *testing.T) {
	asked := Workload{Arrival: Closed, Concurrency: 1, NumPrompts: 100, ISL: 10, OSL: 20, IgnoreEOS: true}
	with := func(requests []Request, more ...Request) []Request { return append(requests, more...) }
	byChunks := run(100, 20)
	for i := range byChunks {
		byChunks[i].TokenSource = "chunks"
	}
	byTokenizer, mixed := run(100, 20), run(100, 20)
	for i := range byTokenizer {
		byTokenizer[i].TokenSource, mixed[i].TokenSource = "tokenizer", "tokenizer"
	}
	mixed[0].TokenSource = "usage"
	oneToken := run(98, 20)
	oneToken = append(oneToken, run(2, 1)...)
	for _, c := range []struct {
		name     string
		requests []Request
		asked    Workload
		client   *Client
		status   Status
		reason   string // code of a reason
		doubt    string // code of a doubt
	}{
		{"full", run(100, 20), asked, &Client{}, Full, "", ""},
		{"one error in 100 is within the limit", with(run(99, 20), failedRequest(99, "stream", 0, "reset")), asked, nil, Full, "", "errors"},
		{"two in 100 are not", with(run(98, 20), failedRequest(98, "stream", 0, "reset"), failedRequest(99, "stream", 0, "reset")), asked, nil, Partial, "errors", ""},
		{"fewer than asked", run(99, 20), asked, nil, Partial, "incomplete", ""},
		{"19 of 20 tokens is at the limit", run(100, 19), asked, nil, Full, "", ""},
		{"18 of 20 is short", run(100, 18), asked, nil, Partial, "osl_short", ""},
		{"longer than asked", run(100, 22), asked, nil, Full, "", "osl_differs"},
		{"rejections that look like successes", oneToken, asked, nil, Partial, "one_token", ""},
		{"two were asked for one token", oneToken, Workload{Arrival: Closed, Concurrency: 1, NumPrompts: 100, ISL: 10, OSL: 20, OneToken: 2}, nil, Full, "", ""},
		{"client bound", run(100, 20), asked, &Client{Bound: true, Why: "late"}, Partial, "client_bound", ""},
		{"coalesced", run(100, 20), asked, &Client{Coalesced: new(0.2)}, Full, "", "coalesced"},
		{"counted by the client's tokenizer", byTokenizer, asked, nil, Full, "", "client_tokens"},
		{"one answer has usage", mixed, asked, nil, Full, "", ""},
		{"counted by events", byChunks, asked, nil, Full, "", "chunk_tokens"},
		{"prompts of another length", run(100, 20), Workload{Arrival: Closed, NumPrompts: 100, ISL: 11, OSL: 20}, nil, Full, "", "isl_differs"},
	} {
		v := looked(c.requests).judge(c.asked, c.client)
		if v.Status != c.status {
			t.Errorf("%s: %s %q, want %s", c.name, v.Status, v.Reasons, c.status)
		}
		if c.reason == "" && len(v.Reasons) != 0 || c.reason != "" && !has(v.Reasons, c.reason) {
			t.Errorf("%s: reasons %q, want %q", c.name, v.Reasons, c.reason)
		}
		if c.doubt == "" && len(v.Doubts) != 0 || c.doubt != "" && !has(v.Doubts, c.doubt) {
			t.Errorf("%s: doubts %q, want %q", c.name, v.Doubts, c.doubt)
		}
	}
}

// The row says what counted the tokens.
func TestTokenSource(t *testing.T) {
	requests := closedRun(4, 10, 0)
	for i := range requests {
		requests[i].TokenSource = []string{"usage", "tokenizer"}[i%2]
	}
	m := Assess(requests, Workload{Arrival: Closed, Concurrency: 4, NumPrompts: 40, OSL: 2}, nil)
	if row := RowOf(Origin{}, &m); row.Text("token_source") != "tokenizer+usage" {
		t.Errorf("token_source %q", row.Text("token_source"))
	}
	for i := range requests {
		requests[i].TokenSource = ""
	}
	m = Assess(requests, m.Asked, nil)
	if row := RowOf(Origin{}, &m); !row.IsNull("token_source") {
		t.Errorf("nobody tells, and the row says %q", row.Text("token_source"))
	}
}

func TestJudgeFailed(t *testing.T) {
	requests := []Request{
		failedRequest(0, "headers", 500, "EngineCore died\nTraceback"),
		failedRequest(1, "connect", 0, "refused"),
		failedRequest(2, "headers", 500, "EngineCore died\nother"),
	}
	v := looked(requests).judge(Workload{NumPrompts: 3}, nil)
	if v.Status != Failed || v.Failure != "2 of 3 requests: headers: HTTP 500: EngineCore died" {
		t.Errorf("%+v", v)
	}
	m := Assess(requests, Workload{Arrival: Closed, Concurrency: 1, NumPrompts: 3}, nil)
	if m.Status != Failed || m.Summary.TTFT != nil || m.Summary.RequestThroughput != nil || m.Steady != nil || m.Summary.Errors != 3 {
		t.Errorf("%+v", m)
	}
	if v := looked(nil).judge(Workload{NumPrompts: 3}, nil); v.Status != Failed || v.Failure == "" {
		t.Errorf("nothing sent: %+v", v)
	}
}

func TestAssess(t *testing.T) {
	m := Assess(closedRun(4, 10, 0), Workload{Arrival: Closed, Concurrency: 4, NumPrompts: 40, OSL: 2}, nil)
	if m.Status != Full || m.Steady == nil || m.Window == nil || m.Schema != MeasurementSchema {
		t.Fatalf("%+v", m)
	}
	// The window is 3 to 1000 ms (see TestSteadyWindowClosed). All tokens of the
	// 40 requests are inside, but for the second token of the last request of
	// streams 1 to 3: it was made in the 80 ms to 1001, 1002 and 1003 ms, of which
	// 79, 78 and 77 are inside. By tokens that is 40 - (1+2+3)/80/2 requests.
	value(t, "steady", m.Steady.RequestThroughput, (40-6.0/160)/0.997)
	// 40 requests from 0 to 1003 ms.
	value(t, "whole", m.Summary.RequestThroughput, 40/1.003)
	if !has(m.Doubts, "p90_unfounded") || !has(m.Doubts, "p99_unfounded") {
		t.Errorf("37 requests found a p90: %q", m.Doubts)
	}
}

func TestSampleDoubts(t *testing.T) {
	for n, want := range map[int]int{63: 2, 64: 1, 661: 1, 662: 0} {
		if got := SampleDoubts(Summary{TTFT: &Dist{N: n}}); len(got) != want {
			t.Errorf("%d requests: %q, want %d doubts", n, got, want)
		}
	}
}

func TestReconcile(t *testing.T) {
	number := func(x float64) *float64 { return &x }
	if d := ReconcileCounts(100, 2000, &Server{RequestsOK: number(101), GenerationTokens: number(2020)}); len(d) != 0 {
		t.Errorf("1%% apart: %q", d)
	}
	d := ReconcileCounts(100, 2000, &Server{RequestsOK: number(102), GenerationTokens: number(1970)})
	if len(d) != 2 || !strings.Contains(d[0], "answered requests") || !strings.Contains(d[1], "output tokens") {
		t.Errorf("%q", d)
	}
	if d := ReconcileCounts(100, 2000, &Server{}); d != nil {
		t.Errorf("a server that tells nothing: %q", d)
	}
	if d := ReconcileCounts(100, 2000, nil); d != nil {
		t.Errorf("no server: %q", d)
	}
}
