package pipelines_test

import (
	"fmt"
	"strings"
	"testing"

	"pipeline/pipelines"
)

// bigSpec is a campaign of about n cells: 4 configurations, 5 trials, and as
// many concurrencies as it takes.
func bigSpec(n int) []byte {
	var b strings.Builder
	b.WriteString(`campaign: big
params:
  model: {name: zai-org/GLM-5.1-FP8, shape: glm-5.1-fp8}
  endpoint: {kind: sim}
steps:
  - id: server
    uses: serve
    matrix: {config: [{id: a, tp: 8}, {id: b, tp: 4}, {id: c, tp: 2}, {id: d, tp: 1}]}
    with: {endpoint: '${{ params.endpoint }}', model: '${{ params.model }}', tensor_parallel: '${{ cell.config.tp }}'}
  - id: setup
    uses: init
    in: {server: server}
    matrix: {like: server}
    with: {endpoint: '${{ params.endpoint }}', model: '${{ params.model }}'}
  - id: cells
    uses: cell_run
    in: {server: server, setup: setup}
    matrix:
      like: server
      isl: [128, 256, 512, 1024, 2048]
      concurrency: [`)
	for i := range n / 100 {
		fmt.Fprintf(&b, "%d, ", i+1)
	}
	b.WriteString(`]
      trial: [1, 2, 3, 4, 5]
    with:
      concurrency: ${{ cell.concurrency }}
      num_prompts: ${{ max(16, 2 * cell.concurrency) }}
      isl: ${{ cell.isl }}
      osl: '${{ cell.isl < 1000 ? 128 : 256 }}'
      trial: ${{ cell.trial }}
      title: ${{ cell.config.id }} at ${{ cell.concurrency }}
    timeout: 30m
    retry: 2
  - {id: atlas,  uses: aggregate, in: {cells: cells}}
  - {id: report, uses: render,    in: {atlas: atlas}}
  - {id: lake,   uses: publish,   in: {atlas: atlas, report: report}}
`)
	return []byte(b.String())
}

func BenchmarkPlan(b *testing.B) {
	reg := testKinds()
	for _, n := range []int{1000, 10000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			src := bigSpec(n)
			b.ReportAllocs()
			for b.Loop() {
				c, err := pipelines.Load(func(string) ([]byte, error) { return src, nil }, "big.yaml")
				if err != nil {
					b.Fatal(err)
				}
				plan, err := c.Plan(reg, pipelines.PlanOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if len(plan.Nodes) != n+11 {
					b.Fatalf("%d nodes", len(plan.Nodes))
				}
			}
		})
	}
}
