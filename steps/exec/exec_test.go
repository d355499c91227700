package exec_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipeline/steps"
	"pipeline/steps/exec"
	"pipeline/steps/stepstest"
)

func Test(t *testing.T) { stepstest.Run(t, exec.Kind, os.DirFS("testdata")) }

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// A cancelled command ends with all that it started.
func TestCancelEndsTheGroup(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	// The child holds the pipe's writing end; it reads as ended once both are gone.
	step := &exec.Step{Command: "(exec >" + fifo + "; echo up; sleep 1000) & sleep 1000"}
	env := &steps.Env{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Create: func(string) (io.WriteCloser, error) { return discard{io.Discard}, nil }}
	done := make(chan error, 1)
	go func() { done <- step.Run(ctx, env) }()
	r, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	up := make([]byte, 3)
	if _, err := io.ReadFull(r, up); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); err != nil { // returns when no writer is left
		t.Fatal(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v, want the context's error", err)
	}
}
