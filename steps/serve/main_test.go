package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"pipeline/internal/vllmsim"
	"pipeline/steps"
)

// The test binary is also each of the programs that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		if err := program(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(name string, args []string) error {
	switch name {
	case "sim":
		return sim(args)
	case "deaf": // to SIGTERM
		signal.Ignore(syscall.SIGTERM)
		return sim(args)
	case "mute": // never says where it listens
		select {}
	case "die":
		fmt.Println("(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:1] Traceback (most recent call last):")
		fmt.Println(`(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:1]   File "core.py", line 1`)
		fmt.Println("(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory.")
		return fmt.Errorf("engine core initialization failed")
	case "opener": // a pipeline that opens an endpoint and is then killed
		step := newStep(args[0])
		_, err := step.Open(context.Background(), newEnv(args[2], args[1]))
		if err != nil {
			return err
		}
		fmt.Println("open")
		select {}
	}
	return fmt.Errorf("no program %q", name)
}

// sim is what cmd/pipeline's verb of that name does.
func sim(args []string) error {
	if n := len(args); n < 4 || args[n-4] != "--port" || args[n-2] != leaseFlag {
		return fmt.Errorf("arguments %q do not end in --port and %s", args, leaseFlag)
	}
	conf := vllmsim.Defaults()
	if err := conf.ParseArgs(args[:len(args)-4]); err != nil {
		return err
	}
	conf.APIKey = os.Getenv(conf.APIKeyEnv)
	conf.Log = os.Stderr
	server, err := vllmsim.New(conf)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "INFO:     Uvicorn running on http://%s (SIMULATED)\n", listener.Addr())
	return http.Serve(listener, server)
}

func newStep(mode string) *Step {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	step := Kind(Launcher{Program: program, Args: []string{mode}}).New().(*Step)
	step.Model.Name, step.Model.Shape, step.Hardware, step.TensorParallel = "meta-llama/Llama-3.1-8B", "llama-3.1-8b", "b200_sm100", 1
	return step
}

func newEnv(dir, lease string) *steps.Env {
	return &steps.Env{
		Dir: dir, Lease: lease, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Secret: func(name string) (string, error) {
			v, ok := os.LookupEnv(name)
			if !ok {
				return "", fmt.Errorf("environment variable %s is not set", name)
			}
			return v, nil
		},
		Resolve: func(path string) string { return "/resolved/" + path },
	}
}
