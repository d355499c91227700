package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipeline/steps"
	"pipeline/steps/stepstest"
)

func TestContract(t *testing.T) { stepstest.Check(t, Kind()) }

func open(t *testing.T, s *Step) (steps.Live, error) {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s.Open(context.Background(), &steps.Env{Campaign: steps.Campaign{Home: t.TempDir()}, Log: slog.New(slog.DiscardHandler),
		Doubt: func(format string, a ...any) { t.Log(fmt.Sprintf(format, a...)) }})
}

func TestOpen(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "aiperf")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho aiperf 0.13.0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	for _, c := range []struct {
		change func(*Step)
		want   string // "" is no error
	}{
		{func(*Step) {}, ""},
		{func(s *Step) { s.Concurrency = 100 }, ""},
		{func(s *Step) { s.Driver, s.DriverPath = "aiperf", tool }, ""},
		{func(s *Step) { s.Driver, s.DriverPath, s.Version = "aiperf", tool, "0.12.0" }, "aiperf at " + tool + " is version 0.13.0, and the cells want 0.12.0"},
		{func(s *Step) { s.Driver, s.DriverPath, s.Version = "vllm-bench", tool, "0.13.0" }, ""},
		{func(s *Step) { s.Driver = "aiperf" }, "aiperf is neither in the home nor on the PATH; install it: pipeline tools install aiperf"},
		{func(s *Step) { s.Driver = "vllm-bench" }, "vllm-bench is neither in the home nor on the PATH; "},
		{func(s *Step) { s.Concurrency = 1 << 40 }, "this machine cannot have 1099511627776 requests in flight: 1099511627776 connections need "},
	} {
		s := Kind().New().(*Step)
		c.change(s)
		live, err := open(t, s)
		if c.want == "" && (err != nil || live["where"] != "local") || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) || !errors.Is(err, steps.ErrPermanent)) {
			t.Errorf("got %v, %v, want %s", live, err, c.want)
		}
		if err := s.Close(context.Background(), "any"); err != nil {
			t.Error(err)
		}
	}
}

func TestKubernetesIsRefused(t *testing.T) {
	s := Kind().New().(*Step)
	s.Where = kubernetes
	if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), "where: a bench pod in kubernetes is not built yet; run this program in a pod of the cluster, with where: local") {
		t.Error(err)
	}
}
