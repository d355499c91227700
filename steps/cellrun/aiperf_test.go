package cellrun

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/aiperf"
	"pipeline/internal/conversation"
	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// measured runs a cell that must give an answer. A machine that is busy with
// other tests makes a tool client_bound, which is no fault.
func (b *bench) measured(t *testing.T) perf.Measurement {
	t.Helper()
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !(errors.As(err, &failed) && failed.Partial && strings.HasPrefix(failed.Reason, "client_bound")) {
		t.Fatal(err)
	}
	return m
}

// artifacts are the files that were kept of the tools.
func (b *bench) artifacts(t *testing.T) map[string]string {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(b.written[artifactsFile].Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(packed); ; {
		h, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
}

// Recorded conversations, on an endpoint that wants a key.
func TestAIPerfReplaysConversations(t *testing.T) {
	path := realparts.AIPerf(t)
	const key = "sk-very-secret"
	url := startServer(t, asSim, simKey+"="+key)
	b := newBench(t, http.NotFoundHandler())
	b.step.Driver, b.step.AIPerf.Path = aiperfName, path
	b.step.Concurrency, b.step.NumPrompts, b.step.Warmup, b.step.OSL = 2, 6, 2, 5
	b.env.Secret = func(string) (string, error) { return key, nil }
	b.setup(t, endpoint.Access{URL: url, APIKey: key}, nil)
	b.env.In["server"][0].Live = endpoint.Access{URL: url}.Live("KEY")
	var all []conversation.Conversation
	for i := range 6 {
		all = append(all, conversation.Conversation{ID: fmt.Sprint("c", i), System: "be brief", Turns: []conversation.Turn{
			{User: fmt.Sprint("the first question of ", i), Assistant: "an answer that was recorded", OSL: 7},
			{User: "and the second one"},
		}})
	}
	b.wire(t, all...)
	m := b.measured(t)
	// The chat template of the simulation counts: role, text, end, and the role of the answer.
	if m.Summary.Requests != 6 || m.Summary.Errors != 0 || m.Setting["dataset"] != "own/talks" || m.Asked.DatasetDigest == "" {
		t.Errorf("summary %+v, setting %s", m.Summary, m.Setting)
	}
	lengths := map[[2]int]int{}
	for line := range strings.Lines(b.written[requestsFile].String()) {
		var r perf.Request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if !r.OK() || r.TokenSource != "usage" {
			t.Errorf("request %s", line)
		}
		lengths[[2]int{r.Turn, r.OSL}]++
	}
	if lengths[[2]int{0, 7}] < 4 || lengths[[2]int{1, 5}] < 2 || len(lengths) != 2 {
		t.Errorf("requests by turn and output tokens: %v", lengths)
	}
	files := b.artifacts(t)
	for name, text := range files {
		if strings.Contains(text, key) {
			t.Errorf("%s holds the key", name)
		}
	}
	for _, want := range []string{"aiperf/artifacts/profile_export.jsonl", "aiperf/artifacts/profile_export_aiperf.json", "aiperf/input.jsonl", "aiperf/output.log", "aiperf/config.yaml"} {
		if files[want] == "" {
			t.Errorf("%s was not kept: %d files", want, len(files))
		}
	}
	if has(m.Driver.Command, key) || m.Driver.Version != "0.13.0" || m.Driver.Command[0] != path {
		t.Errorf("driver %+v", m.Driver)
	}
	if m.Evidence == nil || !slices.ContainsFunc(m.Evidence.Artifacts, func(a perf.Artifact) bool { return a.Name == "profile_export.jsonl" && !a.SHA256.IsZero() }) {
		t.Errorf("evidence %+v", m.Evidence)
	}
	if m.Client == nil || m.Client.BusiestShare == nil || m.Client.Bound && *m.Client.BusiestShare < busyCPU && *m.Client.CPUShare < busyCPU {
		t.Errorf("client %+v", m.Client)
	}
}

// What warms up is measured nowhere: with 6 requests and 2 of warm-up, four
// conversations of two turns hold what is sent, the next two warm up, and each
// stream may begin one more.
func TestAIPerfWarmsUpWithOthers(t *testing.T) {
	talks := func(n int) (all []conversation.Conversation) {
		for i := range n {
			all = append(all, conversation.Conversation{ID: fmt.Sprint("c", i), Turns: []conversation.Turn{{User: fmt.Sprint("first of ", i)}, {User: "second"}}})
		}
		return all
	}
	for _, c := range []struct {
		name   string
		talks  int
		repeat bool
		want   string // the conversations of the input file, in order; "" is refused
	}{
		{"enough", 20, false, "4 5 0 1 2 3 6 7"},
		{"none for the streams", 6, false, "4 5 0 1 2 3"},
		{"none to warm up", 5, false, ""},
		{"none to warm up, and repeat", 5, true, "4 0 0 1 2 3"},
		{"too few, and repeat", 3, true, "0 1 0 1 2 0"},
	} {
		b := newBench(t, http.NotFoundHandler())
		b.step.Driver, b.step.Concurrency, b.step.NumPrompts, b.step.Warmup, b.step.Repeat = aiperfName, 2, 6, 2, c.repeat
		b.env.In = map[string][]steps.Input{}
		b.wire(t, talks(c.talks)...)
		r, err := b.step.record(b.env)
		if c.want == "" {
			if !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "AIPerf needs 2 behind the 4") {
				t.Errorf("%s: error %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		path := filepath.Join(t.TempDir(), "input.jsonl")
		if err := r.writeAIPerf(&aiperf.Call{}, path, b.step); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, m := range regexp.MustCompile(`first of (\d+)`).FindAllStringSubmatch(string(text), -1) {
			order = append(order, m[1])
		}
		if got := strings.Join(order, " "); got != c.want {
			t.Errorf("%s: conversations %s, want %s", c.name, got, c.want)
		}
	}
}

// An open loop of made conversations, with limits and an argument of the user.
func TestAIPerfOpenLoop(t *testing.T) {
	b := newBench(t, http.NotFoundHandler())
	b.step.Driver, b.step.AIPerf.Path = aiperfName, realparts.AIPerf(t)
	b.step.Concurrency, b.step.RequestRate, b.step.NumPrompts, b.step.Warmup, b.step.Turns = 0, 20, 30, 0, 3
	b.step.SharedPrefix, b.step.SLO.TTFTms, b.step.AIPerf.Args = 32, 1000, []string{"--slice-duration", "1"}
	b.setup(t, endpoint.Access{URL: startServer(t, asSim)}, nil)
	m := b.measured(t)
	if m.Summary.Requests != 30 || m.Summary.Goodput == nil || m.Summary.TTFTIntended == nil || m.Setting["arrival"] != perf.Poisson {
		t.Errorf("summary %+v", m.Summary)
	}
	if m.Server == nil || *m.Server.RequestsOK != 30 || *m.Server.PrefixHitRate < 0.2 || has(m.Doubts, "prompts_repeat") || has(m.Doubts, "counts_differ") {
		t.Errorf("server %+v, doubts %q", m.Server, m.Doubts)
	}
	if b.artifacts(t)["aiperf/artifacts/profile_export_aiperf_timeslices.json"] == "" {
		t.Error("the argument of the user had no effect")
	}
	told := map[string]bool{}
	for _, p := range b.said {
		told[p.Unit+" "+p.Text] = true
	}
	if !told["requests the tool starts"] {
		t.Errorf("progress %v", told)
	}
}

// What AIPerf says of its failure is the cause of the cell's.
func TestAIPerfSaysWhyItFails(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.step.Driver, b.step.AIPerf.Path, b.step.AIPerf.TokenizerDir = aiperfName, realparts.AIPerf(t), steps.File(t.TempDir())
	b.setup(t, endpoint.Access{}, nil)
	m := b.fails(t, false, "tool_failed: aiperf ended with exit code 1: ")
	if !strings.Contains(m.Failure, "okenizer") || b.artifacts(t)["aiperf/output.log"] == "" {
		t.Errorf("failure %q, it said: %s", m.Failure, b.artifacts(t)["aiperf/output.log"])
	}
}

// A server that answers no more is left, with what AIPerf had recorded.
func TestStalledAIPerfIsCut(t *testing.T) {
	sim := newSim(t, simConfig())
	b := newBench(t, http.NotFoundHandler())
	first := &switchAfter{Handler: sim, at: 20}
	first.to = func() {
		b.handler.Store(handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/completions") {
				sim.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body) // else the end of the client goes unseen
			<-r.Context().Done()
		})})
	}
	b.handler.Store(handler{first})
	b.step.Driver, b.step.AIPerf.Path = aiperfName, realparts.AIPerf(t)
	b.step.StallTimeout, b.step.Warmup = steps.Duration(2*time.Second), 0
	b.setup(t, endpoint.Access{}, nil)
	m := b.fails(t, true, "stalled: no request ended and no token came, by the server's counters as well for 2.5s")
	if m.Summary.Requests == 0 || m.Summary.Requests >= 40 || !has(m.Reasons, "incomplete") {
		t.Errorf("summary %+v, reasons %q", m.Summary, m.Reasons)
	}
}

// stands writes a program in the place of AIPerf that does what the real one
// does on a bad day.
func stands(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aiperf")
	text := "#!/bin/sh\n[ \"$1\" = --version ] && echo 0.13.0 && exit\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestToolThatHangs(t *testing.T) {
	for _, c := range []struct {
		name, script string
		set          func(*Step)
		want         string
	}{
		{"says nothing at its start", "exec sleep 1000", func(s *Step) { s.StartTimeout = steps.Duration(200 * time.Millisecond) }, "stalled: "},
		{"goes on saying things", "while :; do echo still here; sleep 0.01; done", func(s *Step) { s.ToolTimeout = steps.Duration(500 * time.Millisecond) }, "tool_timeout: aiperf was ended after 500ms"},
		{"is killed", "kill -KILL $$", func(*Step) {}, "tool_failed: aiperf was killed by a signal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, newSim(t, simConfig()))
			b.step.Driver, b.step.AIPerf.Path = aiperfName, stands(t, c.script)
			c.set(b.step)
			b.setup(t, endpoint.Access{}, nil)
			b.fails(t, false, c.want)
		})
	}
}

// Another version than the one that the key names measures nothing.
func TestToolOfAnotherVersion(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.step.Driver, b.step.AIPerf.Path, b.step.AIPerf.Version = aiperfName, stands(t, "exit 1"), "0.12.0"
	b.setup(t, endpoint.Access{}, nil)
	_, err := b.run(t)
	if !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), `is version 0.13.0, and aiperf.version, which the key names, is 0.12.0: set aiperf.version: "0.13.0" to measure with it`) {
		t.Errorf("error %v", err)
	}
}

func TestToolIsNowhere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := newBench(t, newSim(t, simConfig()))
	b.step.Driver = aiperfName
	b.setup(t, endpoint.Access{}, nil)
	_, err := b.run(t)
	if !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "pipeline tools install aiperf") {
		t.Errorf("error %v", err)
	}
	b.step.Driver, b.step.VLLMBench.Version = vllmBenchName, "0.33.0"
	if _, err := b.run(t); !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "vllm_bench.path of cell_run") {
		t.Errorf("error %v", err)
	}
}

// What a tool is told is in the key of the cells that it has a part in, and of
// no others.
func TestComplete(t *testing.T) {
	s := Kind().New().(*Step)
	s.AIPerf.Tokenizer, s.VLLMBench.Version, s.UniquePrompts = "x", "0.33.0", 5
	s.Complete()
	if s.AIPerf.Tokenizer != "" || s.AIPerf.Version != "" || s.VLLMBench.Version != "" || s.UniquePrompts != 0 {
		t.Errorf("native: %+v %+v %d", s.AIPerf, s.VLLMBench, s.UniquePrompts)
	}
	s.CrossCheck = aiperfName
	s.Complete()
	if s.AIPerf.Version != "0.13.0" || s.VLLMBench.Version != "" {
		t.Errorf("cross-checked by AIPerf: %+v %+v", s.AIPerf, s.VLLMBench)
	}
}

func TestCheckTools(t *testing.T) {
	for _, c := range []struct {
		set  func(*Step)
		want string // "" is no error
	}{
		{func(s *Step) { s.Driver = aiperfName }, ""},
		{func(s *Step) { s.CrossCheck = native }, "cross_check: native is the driver itself"},
		{func(s *Step) { s.Driver, s.AIPerf.Args = aiperfName, []string{"--concurrency", "4"} }, "aiperf.args: --concurrency is not for here"},
		{func(s *Step) { s.Driver, s.SharedPrefix = aiperfName, s.ISL }, "shared_prefix"},
		{func(s *Step) { s.Driver, s.AIPerf.Tokenizer, s.AIPerf.TokenizerDir = aiperfName, "a", "b" }, "aiperf.tokenizer"},
		{func(s *Step) { s.Driver = vllmBenchName }, "vllm_bench.version: is not given"},
		{func(s *Step) { s.Driver, s.VLLMBench.Version, s.Turns = vllmBenchName, "1.0", 3 }, "driver: vllm bench serve cannot do this: it knows no conversations"},
		{func(s *Step) {
			s.Driver, s.VLLMBench.Version, s.VLLMBench.Args = vllmBenchName, "1.0", []string{"--seed=3"}
		}, "vllm_bench.args: --seed is not for here"},
	} {
		s := Kind().New().(*Step)
		s.Concurrency = 4
		c.set(s)
		s.Complete()
		err := s.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
