package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/engine"
	"pipeline/pipelines"
	"pipeline/steps"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"--set=token=sk-1", "--set=token=[redacted]"},
		{"token=c2stMQ==", "token=[redacted]"},
		{"endpoint.api_key=a=b=c", "endpoint.api_key=[redacted]"},
		{"endpoint.api-key=abc", "endpoint.api-key=[redacted]"},
		{"endpoint.api_key_env=VLLM_KEY", "endpoint.api_key_env=VLLM_KEY"},
		{"--set=endpoint.url=http://user:pass@host:8000/x", "--set=endpoint.url=http://[redacted]@host:8000/x"},
		{"concurrency=[1,2]", "concurrency=[1,2]"},
		{"specs/glm-fp8.yaml", "specs/glm-fp8.yaml"},
	} {
		if got := redact([]string{c.in}); !slices.Equal(got, []string{c.want}) {
			t.Errorf("redact(%s) = %s, want %s", c.in, got[0], c.want)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"cells[config=fp8-tp4,trial=1]", "cells[config=fp8-tp4,trial=1]", true},
		{"cells[config=fp8-tp4,trial=1]", "cells4", false},
		{"cells[*]", "cells[config=fp8-tp4,trial=1]", true},
		{"cells*trial=?]", "cells[config=fp8-tp4,trial=1]", true},
		{"cells", "cells[trial=1]", false},
	} {
		if got := pattern(c.pattern).MatchString(c.name); got != c.want {
			t.Errorf("%s matches %s: %t, want %t", c.pattern, c.name, got, c.want)
		}
	}
}

// A run that met a corrupt blob settles its nodes a second time, and a retried
// node runs a second time. Neither may count twice.
func TestTallyCountsANodeOnce(t *testing.T) {
	kind := &steps.Kind{Name: "k", Effect: steps.Pure}
	plan := &pipelines.Plan{
		Steps: []pipelines.PlanStep{{ID: "a", Kind: kind, Nodes: []pipelines.NodeID{0, 1}}},
		Nodes: []pipelines.Node{{ID: 0, Name: "a[i=1]", Kind: kind}, {ID: 1, Name: "a[i=2]", Kind: kind}},
	}
	ta := newTally(plan)
	say := func(node pipelines.NodeID, kind engine.EventKind, s engine.State) {
		ta.add(engine.Event{Kind: kind, Node: node, State: s, Time: time.Now()})
	}
	for range 2 {
		for node := range pipelines.NodeID(2) {
			say(node, engine.NodeState, engine.Running)
			say(node, engine.Retrying, 0)
			say(node, engine.NodeState, engine.Running)
			say(node, engine.NodeState, engine.Hit)
		}
	}
	s := &ta.steps[0]
	if s.reused != 2 || s.settled() != 2 || len(ta.running) != 0 {
		t.Errorf("reused %d, settled %d, running %v, want 2, 2 and none", s.reused, s.settled(), ta.running)
	}
	if got := bar(s); strings.Count(got, "█") != barWidth {
		t.Errorf("the bar of a step that is done is %q", got)
	}
}

// What a running node is doing begins with its phase, by the number that the
// spec gives it, or else by the name that the step gives it. A Hold that is
// open is not in the phase any more in which it was opened.
func TestTallyTellsThePhase(t *testing.T) {
	kind, hold := &steps.Kind{Name: "k", Effect: steps.Measure}, &steps.Kind{Name: "h", Effect: steps.Hold}
	ta := newTally(&pipelines.Plan{
		Steps: []pipelines.PlanStep{{ID: "a", Kind: kind, Nodes: []pipelines.NodeID{0}}, {ID: "b", Kind: hold, Nodes: []pipelines.NodeID{1}}},
		Nodes: []pipelines.Node{{ID: 0, Name: "a", Kind: kind}, {ID: 1, Step: 1, Name: "b", Kind: hold}},
	})
	far := steps.Progress{Done: 3, Total: 8, Unit: "requests", Text: "TTFT 41 ms"}
	for _, c := range []struct {
		event engine.Event
		want  string
	}{
		{engine.Event{Kind: engine.Progressed, Progress: &steps.Progress{Phase: "run"}}, "run"},
		{engine.Event{Kind: engine.Phased, Text: "5/9 run"}, "5/9 run"},
		{engine.Event{Kind: engine.Progressed, Progress: &far}, "5/9 run, 3/8 requests, TTFT 41 ms"},
		{engine.Event{Kind: engine.NodeState, State: engine.Running}, "3/8 requests, TTFT 41 ms"},
		{engine.Event{Kind: engine.Phased, Node: 1, Text: "2/9 bench pod"}, ""},
	} {
		ta.add(c.event)
		if got := ta.doing(c.event.Node); got != c.want {
			t.Errorf("%s: doing %q, want %q", c.event.Kind, got, c.want)
		}
	}
}

// Cells with one sort of doubt are one line; two doubts of one sort that a node
// has are two.
func TestGroupWarnings(t *testing.T) {
	plan := &pipelines.Plan{
		Steps: []pipelines.PlanStep{{ID: "cells", Nodes: []pipelines.NodeID{0, 1}}},
		Nodes: []pipelines.Node{{Name: "cells[c=1]"}, {Name: "cells[c=2]"}},
	}
	o := &engine.Outcome{
		Warnings: []string{"of the run", "cells[c=1]: few_prompts: 4"},
		Nodes: []engine.NodeOutcome{
			{Doubts: []string{"few_prompts: 4", "definition: itl_ms: by event", "definition: e2el_ms: to the end"}},
			{Doubts: []string{"few_prompts: 8", "definition: itl_ms: by event", "definition: e2el_ms: to the end", "WARNING: no point"}},
		},
	}
	got := groupWarnings(plan, o)
	want := []string{"of the run", "cells, 2 of 2: few_prompts: 4 (cells[c=1])", "cells, 2 of 2: definition: itl_ms: by event (cells[c=1])",
		"cells, 2 of 2: definition: e2el_ms: to the end (cells[c=1])", "cells[c=2]: WARNING: no point"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := warningLine(want[4]); got != "WARNING: cells[c=2]: no point" {
		t.Error(got)
	}
}
