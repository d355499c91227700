package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pipeline/internal/vllmsim"
)

func (a *app) simCmd() *cobra.Command {
	config := vllmsim.Defaults()
	host, port, lease := "127.0.0.1", 8000, ""
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Serve a simulated vLLM endpoint",
		Long: `Serves an HTTP endpoint that behaves as vLLM does and takes the time that the roofline of a model on a GPU says. It
has no GPU and no weights; the text it writes means nothing. What is measured on it is marked SIMULATED.

Its arguments have vLLM's names where vLLM has them. POST /sim/faults switches faults on while it runs.`,
		Example: `  pipeline sim --port 8000 --model zai-org/GLM-5.1-FP8 --model-shape glm-5.1-fp8 --hardware b200_sm100 --tensor-parallel-size 8
  curl -s localhost:8000/v1/models`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config.APIKeyEnv != "" {
				key, err := secret(config.APIKeyEnv)
				if err != nil {
					return usage(fmt.Errorf("--api-key-env: %w", err))
				}
				config.APIKey = key
			}
			config.Log = a.stderr
			return a.sim(cmd.Context(), config, net.JoinHostPort(host, strconv.Itoa(port)))
		},
	}
	for _, f := range config.Flags() {
		flag := cmd.Flags().VarPF(f.Value, f.Name, "", f.Doc)
		if f.Bool {
			flag.NoOptDefVal = "true"
		}
	}
	cmd.Flags().StringVar(&host, "host", host, "address to listen on")
	cmd.Flags().IntVar(&port, "port", port, "port to listen on; 0 picks a free one, which the first log lines name")
	cmd.Flags().StringVar(&lease, "lease", lease, "a word by which whoever started this process finds it again")
	if err := cmd.Flags().MarkHidden("lease"); err != nil {
		panic(err) // the flag stands one line above
	}
	return cmd
}

// sim serves until a signal ends it.
func (a *app) sim(ctx context.Context, config vllmsim.Config, address string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := vllmsim.New(config)
	if err != nil {
		return usage(err)
	}
	defer server.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return failed(hint(err, "--port 0 picks a free port"))
	}
	web := &http.Server{Handler: server, ReadHeaderTimeout: 30 * time.Second}
	fmt.Fprintf(a.stderr, "INFO:     Uvicorn running on http://%s (SIMULATED; press CTRL+C to quit)\n", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	select {
	case err := <-served:
		return failed(fmt.Errorf("serve: %w", err))
	case <-ctx.Done():
	}
	server.Close() // cuts open streams, so that Shutdown does not wait for them
	limit, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := web.Shutdown(limit); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return failed(fmt.Errorf("stop serving: %w", err))
	}
	return nil
}
