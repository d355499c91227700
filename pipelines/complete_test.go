package pipelines_test

import (
	"strings"
	"testing"

	"pipeline/pipelines"
	"pipeline/steps"
)

// A tooled step has a default that follows from another parameter.
type tooled struct {
	ran
	Driver  string `json:"driver" key:"yes" doc:"What measures."`
	Version string `json:"version" key:"yes" doc:"Of the driver."`
}

func (s *tooled) Complete() {
	if s.Driver == "tool" && s.Version == "" {
		s.Version = "1.0"
	}
}

func (s *tooled) Check() error {
	if s.Driver == "tool" && s.Version == "" {
		return &steps.ParamError{Param: "version", Err: steps.ErrPermanent} // Complete comes first
	}
	return nil
}

// Defaults that follow from other parameters are explicit in the plan, cell by cell.
func TestComplete(t *testing.T) {
	reg := steps.NewRegistry(steps.Kind{Name: "run", Summary: "Run.", Version: 1, Effect: steps.Pure, New: func() steps.Step { return &tooled{Driver: "native"} }})
	c, err := pipelines.Load(func(string) ([]byte, error) {
		return []byte("campaign: x\nsteps:\n  - {id: a, uses: run, matrix: {driver: [native, tool]}, with: {driver: '${{ cell.driver }}'}}\n"), nil
	}, "spec.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(reg, pipelines.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range p.Nodes {
		s := n.Params.(*tooled)
		got = append(got, s.Driver+" "+s.Version)
	}
	if strings.Join(got, ", ") != "native , tool 1.0" {
		t.Errorf("%q", got)
	}
}
