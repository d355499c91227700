package stepstest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pipeline/steps"
	"pipeline/steps/stepstest"
)

// bad is a kind that breaks the contract in the way of its fault.
type bad struct {
	fault string

	Text string `json:"text" key:"yes" doc:"x"`
}

type untagged struct {
	bad
	More string `json:"more" doc:"x"`
}

func (s *bad) Run(_ context.Context, env *steps.Env) error {
	text := s.Text
	switch s.fault {
	case "moody":
		text += fmt.Sprint(time.Now().UnixNano())
	case "silent":
		return nil
	case "litter":
		if err := os.WriteFile("litter", nil, 0o666); err != nil {
			return err
		}
	case "clock":
		text += env.Now().String()
	}
	w, err := env.Create("text")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(w, text); err != nil {
		return err
	}
	return w.Close()
}

func (s *bad) kind() steps.Kind {
	k := steps.Kind{Name: "bad", Summary: "x", Doc: "x", Version: 1, Outputs: []steps.Output{{Name: "text", Doc: "x"}},
		New: func() steps.Step { return &bad{fault: s.fault} }}
	if s.fault == "untagged" {
		k.New = func() steps.Step { return &untagged{} }
	}
	return k
}

var cases = fstest.MapFS{"a.txtar": {Data: []byte("-- with.json --\n{\"text\": \"abc\"}\n")}}

// TestFaulty is run by TestFaultsAreFound, in a process of its own, as it has
// to fail.
func TestFaulty(t *testing.T) {
	fault, ok := os.LookupEnv("STEPSTEST_FAULT")
	if !ok {
		t.Skip("only as a child of TestFaultsAreFound")
	}
	stepstest.Run(t, (&bad{fault: fault}).kind(), cases)
}

func TestFaultsAreFound(t *testing.T) {
	for fault, want := range map[string]string{
		"":         "PASS",
		"moody":    "a Pure kind wrote other bytes the second time",
		"silent":   "it did not write text",
		"litter":   "it left something in the working folder",
		"untagged": `no key:"yes" or key:"no" tag`,
		"clock":    "nil pointer dereference",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFaulty$")
		cmd.Env = append(os.Environ(), "STEPSTEST_FAULT="+fault)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (fault == "") || !strings.Contains(string(out), want) {
			t.Errorf("fault %q: %v, want %q in\n%s", fault, err, want, out)
		}
	}
}
