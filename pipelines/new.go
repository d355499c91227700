package pipelines

import (
	"fmt"
	"strings"

	"pipeline/steps"
)

// New returns a spec to start from, with comments: a small campaign against a
// simulated endpoint that runs on any machine.
func New(name string, reg steps.Registry) []byte {
	var kinds strings.Builder
	for _, k := range reg.Names() {
		fmt.Fprintf(&kinds, "#   %-14s %s\n", k, reg[k].Summary)
	}
	return []byte(strings.NewReplacer("NAME", name, "# KINDS\n", kinds.String()).Replace(newSpec))
}

const newSpec = `# yaml-language-server: $schema=campaign.schema.json
#
#   pipeline plan specs/NAME.yaml      what would run, and why
#   pipeline run specs/NAME.yaml       run it; a second run measures nothing
#
# Kinds of steps (pipeline steps doc KIND tells more):
# KINDS
campaign: NAME
focus: throughput            # latency, throughput or mixed

# Values that the templates below use. pipeline run --set endpoint.kind=url
# changes one, --params FILE many.
params:
  model: {name: zai-org/GLM-5.1-FP8, shape: glm-5.1-fp8}
  hardware: b300_sm103       # a key of configs/sol-ceilings.yaml
  endpoint: {kind: sim}      # sim starts one here; url names one that runs
  driver: native

steps:
  # The endpoint, once for each configuration. It is started only if something
  # below has to be measured, and stopped when that is done.
  - id: server
    uses: serve
    matrix:
      config: [{id: fp8-tp8, tp: 8}, {id: fp8-tp4, tp: 4}]
    with:
      endpoint: ${{ params.endpoint }}
      model: ${{ params.model }}
      hardware: ${{ params.hardware }}
      tensor_parallel: ${{ cell.config.tp }}

  # What the endpoint really is: its identity is part of every measurement.
  - id: setup
    uses: init
    in: {server: server}
    matrix: {like: server}   # the cells of that step
    with:
      model: ${{ params.model }}
      hardware: ${{ params.hardware }}
      tensor_parallel: ${{ cell.config.tp }}

  # One measurement for each cell. Wires join on the axes that both steps have,
  # here config.
  - id: cells
    uses: cell_run
    in: {server: server, setup: setup}
    matrix:
      like: server
      concurrency: [1, 4, 8]
      trial: [1, 2, 3]
      exclude: ['${{ cell.config.tp == 4 && cell.concurrency > 4 }}']
    with:
      driver: ${{ params.driver }}
      concurrency: ${{ cell.concurrency }}
      num_prompts: ${{ max(16, 2 * cell.concurrency) }}
      isl: 4096
      osl: 128
      trial: ${{ cell.trial }}
    timeout: 30m
    retry: 2

  # Without a common axis a wire brings all cells.
  - {id: atlas,  uses: aggregate, in: {cells: cells}}
  - {id: report, uses: render,    in: {atlas: atlas}}
  - {id: lake,   uses: publish,   in: {atlas: atlas, report: report}}
`
