package aggregate

import (
	"fmt"
	"slices"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// several is the artifact of a node that has more than one cell: an import of
// a folder.
const several = "measurements.jsonl"

// rowsOf makes the rows of one node: one, or one a line of measurements.jsonl.
func rowsOf(in *steps.Input) ([]perf.Row, error) {
	if _, ok := in.Artifact(several); !ok {
		row, err := rowOf(in)
		return []perf.Row{row}, err
	}
	r, err := in.Open(several)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", several, in.Step, err)
	}
	defer r.Close()
	cells, err := perf.ReadCells(r)
	if err != nil {
		return nil, fmt.Errorf("%s of step %s: %w", several, in.Step, err)
	}
	var rows []perf.Row
	for _, c := range cells {
		// The gap and the doubts of the node are of all its cells together; each
		// measurement has its own.
		o := perf.Origin{Source: source, Artifacts: map[string]digest.Digest{source: c.Digest}}
		for _, n := range in.Cell {
			if !slices.ContainsFunc(c.Cell, func(own perf.Coord) bool { return own.Axis == n.Axis && own.Value == n.Value }) {
				o.Cell = append(o.Cell, perf.Coord{Axis: n.Axis, Value: n.Value})
			}
		}
		for _, own := range c.Cell {
			if slices.ContainsFunc(o.Cell, func(n perf.Coord) bool { return n.Axis == own.Axis }) {
				return nil, fmt.Errorf("%s of step %s: the axis %s is one of the step's matrix, and the cell %s has %s there", several, in.Step, own.Axis, perf.CellID(c.Cell), own.Value)
			}
			o.Cell = append(o.Cell, own)
		}
		rows = append(rows, perf.RowOf(o, c.Measurement))
	}
	return rows, nil
}
