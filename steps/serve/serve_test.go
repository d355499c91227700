package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/steps"
)

// lease is one that no other test process has.
func lease(t *testing.T) string {
	name := fmt.Sprintf("test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		if err := endAll(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func count(t *testing.T, lease string) int {
	t.Helper()
	pids, err := leased(lease)
	if err != nil {
		t.Fatal(err)
	}
	return len(pids)
}

func TestOpenServesAndCloseEnds(t *testing.T) {
	step, name := newStep("sim"), lease(t)
	step.Args.MaxNumSeqs = 17
	step.Endpoint.Sim.TimeScale = 0.5
	live, err := step.Open(context.Background(), newEnv(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, name); n != 1 {
		t.Fatalf("%d processes have the lease, want 1", n)
	}
	access, err := endpoint.AccessOf(live, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := endpoint.NewClient(access)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	obs, err := endpoint.Probe(context.Background(), client, endpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// What was declared is what is there.
	d := endpoint.Declaration{Model: step.Model, Hardware: step.Hardware, TensorParallel: step.TensorParallel, Args: step.Args}
	if differ := obs.Identity.Declare(d.Values()); len(differ) > 0 {
		t.Errorf("the endpoint is not what was asked: %v", differ)
	}
	if got := obs.Identity.Value("args.sim_time_scale"); got != "0.5" {
		t.Errorf("time scale %s, want 0.5", got)
	}
	for range 2 { // closing twice is no error
		if err := newStep("sim").Close(context.Background(), name); err != nil {
			t.Fatal(err)
		}
		if n := count(t, name); n != 0 {
			t.Fatalf("%d processes have the lease after Close", n)
		}
	}
}

func TestCloseOfTheDeaf(t *testing.T) {
	step, name := newStep("deaf"), lease(t)
	if _, err := step.Open(context.Background(), newEnv(t.TempDir(), name)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // being interrupted cuts the grace, and nothing else
	if err := step.Close(ctx, name); err != nil || count(t, name) != 0 {
		t.Errorf("error %v, %d processes left", err, count(t, name))
	}
}

func TestCloseLeavesOthersAlone(t *testing.T) {
	mine, other := lease(t), lease(t)+"-longer"
	t.Cleanup(func() { endAll(context.Background(), other) })
	step := newStep("sim")
	for _, name := range []string{mine, other} {
		if _, err := step.Open(context.Background(), newEnv(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := step.Close(context.Background(), mine); err != nil {
		t.Fatal(err)
	}
	if count(t, mine) != 0 || count(t, other) != 1 {
		t.Errorf("%d of mine are left, want 0; %d of the other, want 1", count(t, mine), count(t, other))
	}
	if err := step.Close(context.Background(), ""); err == nil {
		t.Error("closing without a lease is no error")
	}
}

// After kill -9 of the pipeline, its endpoint lives on, and another process
// finds it by the lease alone.
func TestCloseAfterKill(t *testing.T) {
	name := lease(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opener := exec.Command(program, "opener", "sim", name, t.TempDir())
	out, err := opener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	opener.Stderr = os.Stderr
	if err := opener.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open\n" {
		t.Fatalf("the opener said %q, %v", line, err)
	}
	if err := opener.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	opener.Wait()
	if n := count(t, name); n != 1 {
		t.Fatalf("%d processes have the lease after the kill, want the endpoint", n)
	}
	// All that a new process has is the parameters and the lease.
	params, err := json.Marshal(newStep("sim"))
	if err != nil {
		t.Fatal(err)
	}
	step := newStep("sim")
	if err := json.Unmarshal(params, step); err != nil {
		t.Fatal(err)
	}
	if err := step.Close(context.Background(), name); err != nil || count(t, name) != 0 {
		t.Errorf("error %v, %d processes left", err, count(t, name))
	}
}

func TestOpenThatFailsHalfWay(t *testing.T) {
	t.Run("no address in time", func(t *testing.T) {
		step, name := newStep("mute"), lease(t)
		step.ReadyTimeout = steps.Duration(200 * time.Millisecond)
		_, err := step.Open(context.Background(), newEnv(t.TempDir(), name))
		if err == nil || !strings.Contains(err.Error(), "says where it listens") {
			t.Errorf("error %v", err)
		}
		if count(t, name) != 1 {
			t.Fatal("there is nothing to close")
		}
		if err := step.Close(context.Background(), name); err != nil || count(t, name) != 0 {
			t.Errorf("error %v, %d processes left", err, count(t, name))
		}
	})
	t.Run("it dies", func(t *testing.T) {
		step, name := newStep("die"), lease(t)
		start := time.Now()
		_, err := step.Open(context.Background(), newEnv(t.TempDir(), name))
		if err == nil || !strings.Contains(err.Error(), "ended before it was ready (exit status 1): (EngineCore pid=7) torch.OutOfMemoryError: CUDA out of memory.") {
			t.Errorf("error %v", err)
		}
		if time.Since(start) > time.Duration(step.ReadyTimeout)/2 {
			t.Error("the death was not noticed")
		}
	})
	t.Run("it refuses its arguments", func(t *testing.T) {
		step, name := newStep("sim"), lease(t)
		step.Args.MaxModelLen = 1 << 30
		_, err := step.Open(context.Background(), newEnv(t.TempDir(), name))
		if err == nil || !strings.Contains(err.Error(), "greater than the derived max_model_len") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		step, name := newStep("mute"), lease(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := step.Open(ctx, newEnv(t.TempDir(), name)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no program", func(t *testing.T) {
		step, name := newStep("sim"), lease(t)
		step.launcher.Program = "/nowhere"
		if _, err := step.Open(context.Background(), newEnv(t.TempDir(), name)); err == nil {
			t.Error("no error")
		}
	})
}

func TestOpenWithKey(t *testing.T) {
	step, name := newStep("sim"), lease(t)
	step.Endpoint.APIKeyEnv = "SERVE_TEST_KEY"
	if _, err := step.Open(context.Background(), newEnv(t.TempDir(), name)); err == nil || !strings.Contains(err.Error(), "SERVE_TEST_KEY") {
		t.Fatalf("error %v, want one that names the variable", err)
	}
	t.Setenv("SERVE_TEST_KEY", "s3cret")
	live, err := step.Open(context.Background(), newEnv(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(live); strings.Contains(text, "s3cret") || live["api_key_env"] != "SERVE_TEST_KEY" {
		t.Errorf("live %s", text)
	}
}

func TestStandingURL(t *testing.T) {
	step := newStep("nothing")
	step.Endpoint = Endpoint{Kind: "url", URL: "https://h:1/v1", CAFile: "ca.pem", Log: "server.log"}
	if err := step.Check(); err != nil || !step.Standing() {
		t.Fatalf("%v, standing %v", err, step.Standing())
	}
	live, err := step.Open(context.Background(), newEnv(t.TempDir(), "x"))
	if err != nil || live["url"] != "https://h:1/v1" || live["ca_file"] != "/resolved/ca.pem" || live["log"] != "/resolved/server.log" {
		t.Errorf("live %v, %v", live, err)
	}
	if err := step.Close(context.Background(), "x"); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	yes := true
	for _, c := range []struct {
		param  string
		change func(*Step)
	}{
		{"", func(*Step) {}},
		{"endpoint.kind", func(s *Step) { s.Endpoint.Kind = "kubernetes" }},
		{"endpoint.url", func(s *Step) { s.Endpoint.Kind = "url" }},
		{"endpoint.url", func(s *Step) { s.Endpoint.Kind, s.Endpoint.URL = "url", "h:1" }},
		{"endpoint.url", func(s *Step) { s.Endpoint.URL = "http://h:1" }},
		{"endpoint.kind", func(s *Step) { s.Endpoint.Insecure = true }},
		{"model.name", func(s *Step) { s.Model.Name = "" }},
		{"model.shape", func(s *Step) { s.Model.Shape = "" }},
		{"model.shape", func(s *Step) { s.Model.Shape = "glm-9" }},
		{"hardware", func(s *Step) { s.Hardware = "" }},
		{"hardware", func(s *Step) { s.Hardware = "b2000" }},
		{"args.pipeline_parallel_size", func(s *Step) { s.Args.PipelineParallelSize = 2 }},
		{"args.data_parallel_size", func(s *Step) { s.Args.DataParallelSize = 2 }},
		{"args.enable_expert_parallel", func(s *Step) { s.Args.EnableExpertParallel = &yes }},
		{"endpoint.sim.time_scale", func(s *Step) { s.Endpoint.Sim.TimeScale = 0 }},
		{"endpoint.sim", func(s *Step) { s.Model.Shape = "glm-5.1-fp8" }}, // does not fit one GPU
		{"endpoint.sim", func(s *Step) { s.Args.BlockSize = 3 }},
		{"endpoint.sim.efficiency", func(s *Step) { s.Endpoint.Sim.Efficiency = 0 }},
	} {
		step := newStep("sim")
		c.change(step)
		err := step.Check()
		var p *steps.ParamError
		if (c.param == "") != (err == nil) || (err != nil && (!errors.As(err, &p) || p.Param != c.param)) {
			t.Errorf("%s: error %v", c.param, err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	step := newStep("sim")
	for b.Loop() {
		if err := step.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
