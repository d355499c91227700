package aggregate_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pipeline/internal/profile"
	"pipeline/lake/perf"
	"pipeline/steps"
)

func profileInput(t *testing.T, p profile.Profile, cell ...steps.Coord) steps.Input {
	t.Helper()
	p.Schema = profile.Schema
	text, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	in := input(0, 0, "", map[string][]byte{"profile.json": text})
	in.Step, in.Cell = "profile", cell
	return in
}

func at(axis, value string) steps.Coord { return steps.Coord{Axis: axis, Value: value} }

var gpuTime = &profile.GPUTime{Source: "zymtrace", Unit: profile.Samples, Total: 4,
	Categories: []profile.Share{{Name: "MoE", Amount: 3, Share: 0.75}, {Name: "NCCL", Amount: 1, Share: 0.25}}}

func runWith(t *testing.T, profiles ...steps.Input) (*world, map[string]perf.Row) {
	t.Helper()
	w, err := runPorts(t, map[string][]steps.Input{"cells": cells(t), "profile": profiles})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]perf.Row{}
	for _, r := range rows {
		byName[r.Text("agg")+" "+r.Text("cell_id")] = r
	}
	return w, byName
}

const trialOne, meanOne = "trial concurrency=1,config=fp8-tp8,trial=1", "mean concurrency=1,config=fp8-tp8"

func TestProfileRaisesRigorOfItsCell(t *testing.T) {
	_, rows := runWith(t,
		profileInput(t, profile.Profile{GPUTime: gpuTime}, at("config", "fp8-tp8"), at("concurrency", "1")),
		profileInput(t, profile.Profile{Counters: &profile.Counters{Source: "ncu", Launches: 2}}, at("concurrency", "16"), at("config", "fp8-tp8"), at("trial", "1")),
	)
	for name, want := range map[string]string{
		trialOne: "L1", meanOne: "L1",
		"trial concurrency=16,config=fp8-tp8,trial=1": "L4",
		"mean concurrency=16,config=fp8-tp8":          "L4",
		"trial concurrency=2,config=fp8-tp8,trial=1":  "none",
	} {
		if got := rows[name].Text("sol_rigor"); got != want {
			t.Errorf("%s has rigor %s, want %s", name, got, want)
		}
	}
	var extra struct {
		Profile struct {
			Of      string `json:"of"`
			GPUTime struct {
				Unit       string          `json:"unit"`
				Categories []profile.Share `json:"categories"`
			} `json:"gpu_time"`
		} `json:"profile"`
	}
	if err := json.Unmarshal([]byte(rows[meanOne].Text("extra_json")), &extra); err != nil {
		t.Fatal(err)
	}
	if p := extra.Profile; p.Of != "concurrency=1,config=fp8-tp8" || p.GPUTime.Unit != "samples" || len(p.GPUTime.Categories) != 2 || p.GPUTime.Categories[0].Share != 0.75 {
		t.Errorf("the row keeps %+v", p)
	}
}

// A profile of a whole configuration says nothing of one load.
func TestProfileOfMoreThanACell(t *testing.T) {
	_, rows := runWith(t, profileInput(t, profile.Profile{GPUTime: gpuTime}, at("config", "fp8-tp8")))
	r := rows[trialOne]
	p, _ := r.Extra()["profile"].(map[string]any)
	if r.Text("sol_rigor") != "none" || p["of"] != "config=fp8-tp8" {
		t.Errorf("rigor %s, profile %v", r.Text("sol_rigor"), p)
	}
}

func TestProfileGap(t *testing.T) {
	gap := profileInput(t, profile.Profile{Gaps: []string{"no sample in 10m0s"}}, at("config", "fp8-tp8"), at("concurrency", "1"))
	gap.Gap = "partial: no sample"
	lost := input(0, 0, "skipped: the cell failed", nil)
	lost.Cell = []steps.Coord{at("concurrency", "16")}
	w, rows := runWith(t, gap, lost, profileInput(t, profile.Profile{GPUTime: gpuTime}, at("config", "other")))
	for name, want := range map[string]string{trialOne: "profile: no sample in 10m0s", "trial concurrency=16,config=fp8-tp8,trial=1": "profile: skipped: the cell failed"} {
		if absent := strings.Join(rows[name].Absent(), "\n"); !strings.Contains(absent, want) || rows[name].Text("sol_rigor") != "none" {
			t.Errorf("%s: absent\n%s", name, absent)
		}
	}
	if len(w.doubts) != 1 || !strings.HasPrefix(w.doubts[0], "profile_of_nothing: the profile of step profile at config=other") {
		t.Errorf("doubts %q", w.doubts)
	}
}
