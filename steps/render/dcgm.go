package render

import (
	"fmt"

	"pipeline/internal/dcgm"
	"pipeline/steps"
)

// readDCGM reads the reports of cells; the row of a cell without one says why.
func readDCGM(inputs []steps.Input) ([]*dcgm.Report, error) {
	var out []*dcgm.Report
	for i := range inputs {
		in := &inputs[i]
		if _, ok := in.Artifact(dcgm.ReportFile); !ok {
			continue
		}
		text, err := in.ReadAll(dcgm.ReportFile)
		if err != nil {
			return nil, fmt.Errorf("read %s of step %s: %w", dcgm.ReportFile, in.Step, err)
		}
		r, err := dcgm.ReadReport(text)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", in.Step, err)
		}
		out = append(out, r)
	}
	return out, nil
}
