package aggregate

import (
	"bytes"
	"fmt"
	"os"

	"pipeline/internal/frontier"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const frontierFile = "frontier.json"

// putFrontier writes what to try next.
func (s *Step) putFrontier(env *steps.Env, lib *sol.Library, rows []perf.Row) error {
	var own []byte
	if s.Frontier != "" {
		var err error
		if own, err = os.ReadFile(env.Resolve(string(s.Frontier))); err != nil {
			return fmt.Errorf("frontier: %w: %w", err, steps.ErrPermanent)
		}
	}
	config, err := frontier.ParseConfig(string(s.Frontier), own)
	if err != nil {
		return fmt.Errorf("frontier: %w: %w", err, steps.ErrPermanent)
	}
	f := frontier.Build(rows, lib, config)
	env.Log.Info("frontier", "state", f.State, "text", f.Text)
	text, err := f.JSON()
	if err != nil {
		return err
	}
	return put(env, frontierFile, bytes.NewReader(text))
}
