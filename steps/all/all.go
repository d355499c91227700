// Package all lists the kinds that a spec may use. It is the only list: a new
// kind is a folder beside this one and a line here.
package all

import (
	"pipeline/steps"
	"pipeline/steps/aggregate"
	"pipeline/steps/baseline"
	"pipeline/steps/campaigninit"
	"pipeline/steps/cellrun"
	"pipeline/steps/dataset"
	"pipeline/steps/dcgmcorrelate"
	"pipeline/steps/exec"
	"pipeline/steps/importbench"
	"pipeline/steps/profileimport"
	"pipeline/steps/publish"
	"pipeline/steps/render"
	"pipeline/steps/rooflineimport"
	"pipeline/steps/rooflinesweep"
	"pipeline/steps/runner"
	"pipeline/steps/serve"
	"pipeline/steps/zymtracequery"
)

// Deps are what kinds need of the program around them.
type Deps struct {
	Executable string                          // path of this program, which serve starts as a simulated endpoint
	Parquet    aggregate.ParquetWriter         // lake.WriteParquet
	Lake       func(dir string) publish.Sink   // the lake in a folder
	Shelf      func(dir string) baseline.Shelf // the same, to read
}

// Kinds returns all kinds.
func Kinds(d Deps) steps.Registry {
	return steps.NewRegistry(
		serve.Kind(serve.Launcher{Program: d.Executable, Args: []string{"sim"}}),
		campaigninit.Kind(),
		dataset.Kind(),
		runner.Kind(),
		cellrun.Kind(),
		dcgmcorrelate.Kind(),
		baseline.Kind(d.Shelf),
		aggregate.Kind(d.Parquet),
		render.Kind(),
		publish.Kind(d.Lake),
		rooflinesweep.Kind(cellrun.Kind()),
		rooflineimport.Kind(),
		profileimport.Kind(),
		zymtracequery.Kind(),
		exec.Kind,
		importbench.Kind(),
	)
}
