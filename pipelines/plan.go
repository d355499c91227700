package pipelines

import (
	"fmt"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
	"pipeline/steps"
)

// A Plan is a campaign with nothing left to decide. Nodes stand in an order in
// which each comes after its Deps; the same spec always gives the same order.
type Plan struct {
	Name    string // of the campaign
	Focus   string
	Labels  map[string]string
	File    string        // the spec
	Dir     string        // the folder that paths of the spec are relative to
	SpecSum digest.Digest // of the bytes of the spec and its bases
	Steps   []PlanStep    // in the order of the spec
	Nodes   []Node

	Warnings []Warning // by place
}

// A PlanStep is a declared step of a plan, for printing.
type PlanStep struct {
	ID    string
	Pos   Pos
	Kind  *steps.Kind
	Axes  []string
	Nodes []NodeID

	Phases []Phase // what the spec calls the step, or its parts, when it tells how far a run is
}

// A Phase is a part of a campaign as people see it. Phases are numbered in the
// order in which the steps of the spec name them.
type Phase struct {
	Name       string
	Number, Of int
}

func (p Phase) String() string { return fmt.Sprintf("%d/%d %s", p.Number, p.Of, p.Name) }

// A NodeID indexes Plan.Nodes.
type NodeID int

// A Node is one step to run: a declared step at one cell of its matrix.
type Node struct {
	ID      NodeID
	Step    int    // index in Plan.Steps
	Name    string // "cells[config=fp8-tp8,concurrency=16,trial=1]", unique in the plan; axes in the order of the spec
	Pos     Pos    // the declaration
	Kind    *steps.Kind
	Params  steps.Step // the configured step, decoded and checked
	Cell    []steps.Coord
	Deps    []Edge   // data, sorted by port, then by the cell of From in canonical order
	After   []NodeID // order without data
	Timeout time.Duration
	Retry   Retry
	MaxAge  time.Duration // 0: a record never ages
	Pools   []string      // extra named limits of the spec, beside the kind's own
}

// An Edge feeds what From wrote to one input port.
type Edge struct {
	Port string
	From NodeID
}

// Retry says how often and after how long a failed step is tried again.
type Retry struct {
	Max     int           // tries after the first
	Backoff time.Duration // before the first retry; doubles each time, at most 5 minutes
}

// A Pos is a place in a spec. Line and Col count from 1.
type Pos = yaml.Pos

// A Warning is about something in a spec that is allowed and probably not meant.
type Warning struct {
	Pos  Pos
	Text string
}

func (w Warning) String() string { return w.Pos.String() + ": " + w.Text }

// CellString prints a cell as a name has it: "config=fp8-tp8,concurrency=16".
func CellString(cell []steps.Coord) string {
	var b strings.Builder
	for i, c := range cell {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Axis + "=" + c.Value)
	}
	return b.String()
}
