package cellrun

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"pipeline/internal/conversation"
	"pipeline/internal/endpoint"
	"pipeline/steps"
)

// wire wires a data set of these conversations.
func (b *bench) wire(t *testing.T, all ...conversation.Conversation) conversation.Dataset {
	t.Helper()
	var lines, about bytes.Buffer
	w := conversation.NewWriter(&lines)
	for _, c := range all {
		if err := w.Write(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	d := conversation.Dataset{Schema: conversation.DatasetSchema, Name: "own/talks", Source: "huggingface", Revision: "abc", Split: "2025_07", Digest: w.Digest(), Summary: w.Summary()}
	if err := d.Write(&about); err != nil {
		t.Fatal(err)
	}
	b.env.In["dataset"] = []steps.Input{{
		Step: "data", Artifacts: []steps.Artifact{{Name: conversation.FileName, Digest: w.Digest()}},
		Open: func(name string) (io.ReadCloser, error) {
			switch name {
			case conversation.FileName:
				return io.NopCloser(bytes.NewReader(lines.Bytes())), nil
			case conversation.DatasetFile:
				return io.NopCloser(bytes.NewReader(about.Bytes())), nil
			}
			return nil, fmt.Errorf("no artifact %s", name)
		},
	}}
	return d
}

// A sent is what a request asked for.
type sent struct {
	Messages  []struct{ Role, Content string }
	MaxTokens int `json:"max_tokens"`
}

func (s sent) String() string {
	var parts []string
	for _, m := range s.Messages {
		parts = append(parts, m.Role[:1]+":"+m.Content)
	}
	return fmt.Sprintf("%s > %d", strings.Join(parts, " "), s.MaxTokens)
}

// overhear notes what reaches the endpoint.
func overhear(h http.Handler) (http.Handler, func() []string) {
	var mu sync.Mutex
	var all []string
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/chat/completions") {
				body, err := io.ReadAll(r.Body)
				var s sent
				if err == nil && json.Unmarshal(body, &s) == nil {
					mu.Lock()
					all = append(all, s.String())
					mu.Unlock()
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			h.ServeHTTP(w, r)
		}), func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
}

func talk(id string, turns ...conversation.Turn) conversation.Conversation {
	return conversation.Conversation{ID: id, System: "sys", Turns: turns}
}

// The recorded answers are the history, and their lengths what is asked.
func TestPlaysADataSet(t *testing.T) {
	h, heard := overhear(newSim(t, simConfig()))
	b := newBench(t, h)
	b.setup(t, endpoint.Access{}, map[string]string{endpoint.ImageDigest: "sha256:1"})
	b.step.NumPrompts, b.step.Warmup, b.step.Concurrency, b.step.OSL = 5, 1, 2, 11
	d := b.wire(t,
		talk("a", conversation.Turn{User: "a1", Assistant: "A1", ISL: 10, OSL: 7}, conversation.Turn{User: "a2", Assistant: "A2", ISL: 20, OSL: 8}, conversation.Turn{User: "a3", ISL: 30}),
		talk("b", conversation.Turn{User: "b1", Assistant: "B1", ISL: 10, OSL: 5}, conversation.Turn{User: "b2", Assistant: "B2", ISL: 20, OSL: 4}),
		talk("c", conversation.Turn{User: "c1", Assistant: "C1", ISL: 10, OSL: 3}),
		talk("d", conversation.Turn{User: "d1", Assistant: "D1", ISL: 10, OSL: 3}),
	)
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !(errors.As(err, &failed) && strings.HasPrefix(failed.Reason, "client_bound")) {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(heard(), func(s string) bool { return !strings.HasPrefix(s, "s:sys") }) // but the probes
	slices.Sort(got)
	want := []string{
		"s:sys u:a1 > 7", "s:sys u:a1 a:A1 u:a2 > 8", "s:sys u:a1 a:A1 u:a2 a:A2 u:a3 > 11",
		"s:sys u:b1 > 5", "s:sys u:b1 a:B1 u:b2 > 4", "s:sys u:c1 > 3", // c is the warm-up
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Means over the five that are measured: (10+20+30+10+20)/5, (7+8+11+5+4)/5, 5/2.
	for name, want := range map[string]string{
		"dataset": "own/talks", "dataset_revision": "abc", "split": "2025_07", "dataset_digest": d.Digest.String(), "isl": "18", "osl": "7", "turns": "3", "multi_turn": "true",
		"num_prompts": "5", "range_ratio": "", "shared_prefix": "",
	} {
		if got := m.Setting[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if m.Summary.Requests != 5 || m.Summary.OutputTokens != 35 || m.Asked.Dataset != "own/talks" || m.Asked.DatasetDigest != d.Digest.String() {
		t.Errorf("%+v %+v", m.Summary, m.Asked)
	}
	if has(m.Doubts, "repeated_prompts") || has(m.Doubts, "isl_differs") || has(m.Doubts, "osl_differs") {
		t.Errorf("doubts %q", m.Doubts)
	}
}

func TestDataSetIsTooSmall(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, map[string]string{endpoint.ImageDigest: "sha256:1"})
	b.step.NumPrompts, b.step.Warmup, b.step.Concurrency = 5, 1, 2
	b.wire(t, talk("a", conversation.Turn{User: "a1", ISL: 1}, conversation.Turn{User: "a2", ISL: 2}))
	_, err := b.run(t)
	want := "data set own/talks has 2 requests, and 6 are to be sent: take more conversations, ask for fewer, or set repeat"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, steps.ErrPermanent) {
		t.Errorf("got %v", err)
	}
	b.step.Repeat = true
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if m.Summary.Requests != 5 || !has(m.Doubts, "repeated_prompts: ") {
		t.Errorf("%d requests, doubts %q", m.Summary.Requests, m.Doubts)
	}
}

func TestWhatADataSetDecides(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, nil)
	b.wire(t, talk("a", conversation.Turn{User: "a1"}))
	for want, change := range map[string]func(*Step){
		"turns: 2, but a data set has its own; cut them with max_turns of step data": func(s *Step) { s.Turns = 2 },
		"shared_prefix: is of prompts that are made":                                 func(s *Step) { s.SharedPrefix = 5 },
	} {
		s := *b.step
		change(&s)
		if _, err := s.record(b.env); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	b.env.In["dataset"][0].Artifacts[0].Digest[0]++
	if _, err := b.step.record(b.env); err == nil || !strings.Contains(err.Error(), "is not about its") {
		t.Error(err)
	}
}

// What a cold server finds nevertheless, by hand: of 10+20+40+10 tokens the
// second and third request of a have sent 10 and 20 before, and b begins with
// the 4 of the 8 characters that a begins with.
func TestNaturalHits(t *testing.T) {
	a := talk("a", conversation.Turn{User: "xyyyy", Assistant: "A", ISL: 10}, conversation.Turn{User: "2", Assistant: "A", ISL: 20}, conversation.Turn{User: "3", ISL: 40})
	c := &cell{step: &Step{NumPrompts: 4, OSL: 1, Turns: 1}, recorded: &recording{play: []conversation.Conversation{a, talk("b", conversation.Turn{User: "xzzzz", ISL: 10})}}}
	c.recorded.describe(c.step)
	if got, want := c.natural(), (10+20+5)/80.0; math.Abs(got-want) > 1e-9 {
		t.Errorf("%g, want %g", got, want)
	}
	c.recorded.play[1].Turns[0].ISL = 0
	c.recorded.isl = 0
	c.recorded.describe(c.step)
	if got := c.natural(); !math.IsNaN(got) {
		t.Errorf("%g of what nobody counted", got)
	}
}
