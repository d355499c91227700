package agentic

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"pipeline/internal/conversation"
)

// What a seed gives is in the keys of measurements: it never changes.
func TestForEver(t *testing.T) {
	var tally conversation.Tally
	users := map[string]bool{}
	for i := range 64 {
		c := Make(0, i)
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		if err := tally.Add(c); err != nil {
			t.Fatal(err)
		}
		users[c.Turns[0].User] = true
	}
	if got, want := tally.Digest().Short(), "61cfda9446c6"; got != want {
		t.Errorf("the conversations are others than they were: %s, want %s", got, want)
	}
	if len(users) != 64 {
		t.Errorf("%d of 64 conversations begin differently", len(users))
	}
	s := tally.Summary()
	t.Logf("%d requests, turns %+v, ISL %+v, OSL %+v", s.Requests, *s.Turns, *s.ISL, *s.OSL)
	switch {
	case s.Open > 0 || s.Recorded != s.Requests || s.Systems != 64:
		t.Errorf("not all is recorded: %+v", s)
	case s.Turns.Min < 3 || s.Turns.Max > 14 || s.ISL.Min < 400 || s.ISL.Max > 16000 || s.OSL.Max > 1500 || s.OSL.Min < 10:
		t.Errorf("they are not of the shape that the package promises: %+v %+v %+v", *s.Turns, *s.ISL, *s.OSL)
	}
	if Make(1, 0).Turns[0].User == Make(0, 0).Turns[0].User {
		t.Error("the seed is without effect")
	}
}

var update = flag.Bool("update", false, "write the example again")

// The example for people who want to see what a data set looks like: the first
// 50 conversations of seed 0, at most three turns each.
func TestExample(t *testing.T) {
	const path = "../../examples/dataset/agentic.jsonl"
	var want bytes.Buffer
	w := conversation.NewWriter(&want)
	for i := range 50 {
		if err := w.Write(Make(0, i).Head(3)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what is made here (%v); write it with -update", path, err)
	}
}
