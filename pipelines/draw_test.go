package pipelines_test

import "testing"

func TestDraw(t *testing.T) {
	p, err := planOf(`
campaign: d
steps:
  - {id: server, uses: serve, matrix: {tp: [4, 8]}, with: {model: {name: m}, tensor_parallel: '${{ cell.tp }}'}}
  - {id: setup, uses: init, in: {server: server}, matrix: {like: server}}
  - {id: cells, uses: cell_run, in: {server: server, setup: setup}, matrix: {like: server, trial: [1, 2, 3]}, with: {concurrency: 1, trial: '${{ cell.trial }}'}}
  - {id: atlas, uses: aggregate, in: {cells: cells}, after: setup}
  - {id: lake, uses: publish, in: {atlas: atlas}}
`)
	if err != nil {
		t.Fatal(err)
	}
	const dot = `digraph {
	"atlas" [ label="atlas\naggregate", shape="box", weight=0 ];
	"cells" [ label="cells\ncell_run × 6\ntp, trial", shape="box3d", weight=0 ];
	"lake" [ label="lake\npublish", shape="cylinder", weight=0 ];
	"server" [ label="server\nserve × 2\ntp", shape="house", weight=0 ];
	"setup" [ label="setup\ninit × 2\ntp", shape="ellipse", weight=0 ];
	"atlas" -> "lake" [ label="atlas", weight=0 ];
	"cells" -> "atlas" [ label="cells", weight=0 ];
	"server" -> "cells" [ label="server", weight=0 ];
	"server" -> "setup" [ label="server", weight=0 ];
	"setup" -> "atlas" [ style="dashed", weight=0 ];
	"setup" -> "cells" [ label="setup", weight=0 ];
}
`
	if got := p.DOT(); got != dot {
		t.Errorf("got\n%s\nwant\n%s", got, dot)
	}
	const mermaid = `flowchart LR
    s0[/"server<br/>serve × 2<br/>tp"\]
    s1(["setup<br/>init × 2<br/>tp"])
    s2["cells<br/>cell_run × 6<br/>tp, trial"]
    s3["atlas<br/>aggregate"]
    s4[("lake<br/>publish")]
    s0 -->|server| s1
    s0 -->|server| s2
    s1 -->|setup| s2
    s1 -.-> s3
    s2 -->|cells| s3
    s3 -->|atlas| s4
`
	if got := p.Mermaid(); got != mermaid {
		t.Errorf("got\n%s\nwant\n%s", got, mermaid)
	}
}
