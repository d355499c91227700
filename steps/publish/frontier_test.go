package publish_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pipeline/internal/frontier"
	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/publish"
)

func withFrontier(t *testing.T, w *world, f *frontier.Frontier, rows []perf.Row) {
	t.Helper()
	text, err := f.JSON()
	if err != nil {
		t.Fatal(err)
	}
	atlas, err := perf.EncodeRows(perf.Atlas(), rows)
	if err != nil {
		t.Fatal(err)
	}
	w.env.In["atlas"] = []steps.Input{input("atlas", map[string][]byte{"atlas.json": atlas, "frontier.json": text})}
}

// What to try next lands on the campaign's row, as its focus ranks it.
func TestFrontierLands(t *testing.T) {
	lever := func(id string, throughput float64) frontier.Lever {
		return frontier.Lever{ID: id, Status: frontier.StatusOpen, Gains: []frontier.Gain{}, Cost: 1,
			Score: map[frontier.Focus]float64{frontier.Throughput: throughput, frontier.Latency: 1 - throughput, frontier.Mixed: 0.5}}
	}
	f := &frontier.Frontier{Schema: frontier.Schema, State: frontier.Open, Text: "2 levers", Levers: []frontier.Lever{lever("for users", 0.1), lever("for GPUs", 0.9)}, Cells: []frontier.Cell{}, Refuted: []frontier.Lever{}}
	all := rows(nil)
	all[0].SetText("ceilings_digest", "abc")
	w := newWorld(t, all)
	withFrontier(t, w, f, all)
	w.run()
	c := w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]
	var next frontier.Lever
	if err := json.Unmarshal([]byte(c.Text("next_lever")), &next); err != nil || next.ID != "for GPUs" {
		t.Errorf("the next lever for throughput is %q (%v)", next.ID, err)
	}
	back, err := frontier.Read([]byte(c.Text("frontier")))
	if err != nil || len(back.Levers) != 2 {
		t.Errorf("the frontier did not land: %v", err)
	}
	if c.Text("ceilings_digest") != "abc" {
		t.Errorf("ceilings_digest is %q", c.Text("ceilings_digest"))
	}
}

// A campaign of which nobody can say what is next, nor why there is nothing, is
// published with that gap, and refused with strict.
func TestFrontierRequired(t *testing.T) {
	f := &frontier.Frontier{Schema: frontier.Schema, State: frontier.Required, Text: "FRONTIER_REQUIRED: no cell has floors", Levers: []frontier.Lever{}, Cells: []frontier.Cell{}, Refuted: []frontier.Lever{}}
	w := newWorld(t, rows(nil))
	withFrontier(t, w, f, rows(nil))
	w.run()
	c := w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]
	if gaps := strings.Join(c.List("gaps"), "\n"); !strings.Contains(gaps, "FRONTIER_REQUIRED") || !c.IsNull("next_lever") || !strings.Contains(strings.Join(w.doubts, "\n"), "FRONTIER_REQUIRED") {
		t.Errorf("gaps %q, doubts %q", gaps, w.doubts)
	}
	if err := w.step(func(s *publish.Step) { s.Strict = true }).Run(t.Context(), w.env); err == nil || !strings.Contains(err.Error(), "FRONTIER_REQUIRED") {
		t.Errorf("strict: %v", err)
	}
	f.State, f.Text = frontier.Empty, "FRONTIER EMPTY: documented wall at 87 % of achievable"
	w = newWorld(t, rows(nil))
	withFrontier(t, w, f, rows(nil))
	w.run()
	if doubts := strings.Join(w.doubts, "\n"); strings.Contains(doubts, "FRONTIER") {
		t.Errorf("an empty frontier at a wall is no gap: %s", doubts)
	}
	c = w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]
	if !strings.Contains(c.Text("extra_json"), "FRONTIER EMPTY: documented wall") {
		t.Errorf("the wall is not on the row: %s", c.Text("extra_json"))
	}
}

func TestSoLComplete(t *testing.T) {
	all := rows(nil)
	all[0].SetFloat("tpot_floor_ms", 10)
	w := newWorld(t, all)
	made, err := report.Render(report.Input{Title: "t", Rows: all})
	if err != nil {
		t.Fatal(err)
	}
	status, err := made.Status.JSON()
	if err != nil {
		t.Fatal(err)
	}
	w.env.In["report"] = []steps.Input{input("report", map[string][]byte{"report_status.json": status, "report.html": made.HTML})}
	w.run()
	c := w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]
	if complete, _ := c.Bool("sol_complete"); !complete || strings.Contains(c.Text("sol_missing"), `"page":"4"`) || !strings.Contains(c.Text("sol_missing"), `"page":"6"`) {
		t.Errorf("sol_complete %t, sol_missing %s", complete, c.Text("sol_missing"))
	}
}

// A sweep without counters does not lower the rigor of a campaign's cells.
func TestRigorLeavesSweepsOut(t *testing.T) {
	grounded, swept := rows(nil)[0], rows(nil)[0]
	grounded.SetText("sol_rigor", "L3")
	grounded.SetBool("dcgm_grounded", true)
	swept.SetText("cell_id", "concurrency=4,roofline=prefill")
	swept.SetJSON("extra_json", map[string]any{"roofline": map[string]any{"kind": "prefill"}})
	for want, all := range map[string][]perf.Row{"L3": {grounded, swept}, "none": {swept}} {
		w := newWorld(t, all)
		w.run()
		if c := w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]; c.Text("sol_rigor") != want {
			t.Errorf("rigor of %d rows is %s, want %s", len(all), c.Text("sol_rigor"), want)
		}
	}
}
