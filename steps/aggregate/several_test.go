package aggregate_test

import (
	"bytes"
	"strings"
	"testing"

	"pipeline/lake/perf"
	"pipeline/steps"
)

// A node with several cells: a row each, with the axes of the node and of the
// cell; trials of one cell have a mean.
func TestSeveral(t *testing.T) {
	lines := func(cells ...[]perf.Coord) []byte {
		var b bytes.Buffer
		for _, cell := range cells {
			d := perf.UntoldDist(100)
			d.P50 = 20
			rate := 2.5
			m := perf.Measurement{Schema: perf.MeasurementSchema, Status: perf.Full, Setting: perf.Setting{"tp": "8"},
				Source:  &perf.Source{Format: "csv", Path: "a.csv"},
				Summary: perf.Summary{Requests: 100, TTFT: d, RequestThroughput: &rate}}
			if err := perf.WriteCell(&b, cell, &m); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	in := func(gap string, text []byte) steps.Input {
		out := input(4, 1, gap, map[string][]byte{"measurements.jsonl": text})
		out.Cell, out.Doubts = []steps.Coord{{Axis: "site", Value: "a"}}, []string{"of some cell or other"}
		return out
	}
	coord := func(c, trial string) []perf.Coord {
		return []perf.Coord{{Axis: "concurrency", Value: c}, {Axis: "trial", Value: trial}}
	}
	w, err := run(t, []steps.Input{in("2 of 3 cells are not FULL", lines(coord("4", "1"), coord("4", "2"), coord("8", "1")))})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.Text("agg")+" "+r.Text("cell_id"))
		if r.Text("status") != "FULL" || len(r.List("doubts")) > 1 || r.Text("source_format") != "csv" {
			t.Errorf("%s: %s %q %s", r.Text("cell_id"), r.Text("status"), r.List("doubts"), r.Text("source_format"))
		}
	}
	want := "mean concurrency=4,site=a; trial concurrency=4,site=a,trial=1; trial concurrency=4,site=a,trial=2; mean concurrency=8,site=a; trial concurrency=8,site=a,trial=1"
	if got := strings.Join(ids, "; "); got != want {
		t.Errorf("rows: %s\nwant: %s", got, want)
	}
	for text, want := range map[string]string{
		"":  "measurements.jsonl of step cells: it has no line",
		"x": "measurements.jsonl of step cells: line 1 is cut off",
		string(lines([]perf.Coord{{Axis: "site", Value: "b"}})): "the axis site is one of the step's matrix, and the cell site=b has b there",
	} {
		if _, err := run(t, []steps.Input{in("", []byte(text))}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
