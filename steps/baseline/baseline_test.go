package baseline_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/baseline"
	"pipeline/steps/stepstest"
)

// shelf stands where the lake does, which the kind may not know.
type shelf struct{ dir string }

func (s shelf) Rows(_ context.Context, schema *perf.Schema, campaign, revision string) ([]perf.Row, perf.Revision, error) {
	if campaign != "production" || revision != "" && !strings.HasPrefix("3fa91c", revision) {
		return nil, perf.Revision{}, errors.New("the lake has no campaign " + campaign)
	}
	var rows []perf.Row
	for _, config := range []string{"fp8-tp8", "eager"} {
		r := perf.NewRow(schema)
		r.SetText("campaign", campaign)
		r.SetText("config", config)
		r.SetText("cell_id", "concurrency=4,config="+config)
		r.SetText("agg", "trial")
		rows = append(rows, r)
	}
	return rows, perf.Revision{Table: schema.Name, Rows: len(rows)}, nil
}

func open(dir string) baseline.Shelf { return shelf{dir} }

func TestContract(t *testing.T) { stepstest.Run(t, baseline.Kind(open), os.DirFS("testdata")) }

func TestNames(t *testing.T) {
	for name, fixed := range map[string]bool{"production/fp8-tp8": false, "production/fp8-tp8@3fa91c": true} {
		s := &baseline.Step{Baseline: name}
		if err := s.Check(); err != nil || s.Fixed() != fixed {
			t.Errorf("%s: fixed %t, %v", name, s.Fixed(), err)
		}
	}
	for _, name := range []string{"", "production", "/x", "production/", "production/x@zz", "production/x@1"} {
		var param *steps.ParamError
		if err := (&baseline.Step{Baseline: name}).Check(); !errors.As(err, &param) || param.Param != "baseline" {
			t.Errorf("%q is taken: %v", name, err)
		}
	}
}
