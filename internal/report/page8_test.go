package report

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

var page8File = flag.String("page8", "", "write the page of the comparison there, to look at it")

// rivals are three configurations with four trials at four loads: one that
// wins at low load, one that wins at high load, one that failed there, and a
// tie between.
func rivals() []perf.Row {
	var rows []perf.Row
	for config, speed := range map[string]map[int]float64{
		"marlin":  {1: 1, 16: 1, 64: 1, 256: 1},
		"cutlass": {1: 0.8, 16: 1.005, 64: 1.2, 256: 1.3},
		"deepep":  {1: 0.7, 16: 0.9, 64: 0.8, 256: 0},
	} {
		for c, s := range speed {
			for trial := 1; trial <= 4; trial++ {
				rows = append(rows, rival(config, c, trial, s))
			}
		}
	}
	return append(rows, perf.MeanRows(rows)...)
}

func rival(config string, c, trial int, speed float64) perf.Row {
	m := sampleMeasurement(8, max(c, 2), trial)
	m.Status, m.Reasons, m.Doubts, m.Simulated = perf.Full, nil, nil, false
	m.Asked.Concurrency, m.Asked.NumPrompts = c, 10*c
	m.Setting["moe_backend"] = config
	if speed == 0 {
		m.Status, m.Failure, m.Steady, m.Window = perf.Failed, "(EngineCore pid=4242) RuntimeError: no kernel image is available", nil, nil
	}
	o := perf.Origin{
		Cell:   []perf.Coord{{Axis: "config", Value: config}, {Axis: "concurrency", Value: fmt.Sprint(c)}, {Axis: "trial", Value: fmt.Sprint(trial)}},
		Source: "measurement.json", Artifacts: map[string]digest.Digest{"measurement.json": digest.Of(fmt.Append(nil, config, c, trial))},
	}
	r := perf.RowOf(o, m)
	wobble := 1 + 0.004*[]float64{0, 1, -1, 0.5}[trial-1]
	if speed > 0 {
		r.SetFloat("output_tps_per_gpu", speed*wobble*10*float64(c)/(1+float64(c)/64))
		r.SetFloat("headline_tpot_ms", 10/(speed*wobble)*(1+float64(c)/64))
		r.SetFloat("headline_ttft_ms", 100*wobble)
	}
	return r
}

func TestComparison(t *testing.T) {
	r := render(t, Input{Title: "Backends", Rows: rivals()})
	if *page8File != "" {
		if err := os.WriteFile(*page8File, r.HTML, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	section := regexp.MustCompile(`(?s)<section id="page-8">.*?</section>`).Find(r.HTML)
	if section == nil {
		t.Fatal("page 8 is not there")
	}
	golden(t, "page8.txt", []byte(visible(section)))
	for _, want := range []string{`class="winner"`, `class="tie"`, `class="invalid"`, "RuntimeError: no kernel image is available"} {
		if !strings.Contains(string(section), want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
}

// A load that only some have is marked, and loads that nobody shares compare
// nothing.
func TestLoadsThatNobodyShares(t *testing.T) {
	pick := func(loads map[string]int64) []perf.Row {
		var rows []perf.Row
		for _, r := range rivals() {
			if c, _ := r.Int("concurrency"); loads[r.Text("config")] == c {
				rows = append(rows, r)
			}
		}
		return rows
	}
	r := render(t, Input{Title: "t", Rows: pick(map[string]int64{"marlin": 1, "cutlass": 64, "deepep": 64})})
	if !strings.Contains(string(r.HTML), "not in the matrix") {
		t.Error("a load that a configuration lacks is not marked")
	}
	r = render(t, Input{Title: "t", Rows: pick(map[string]int64{"marlin": 1, "cutlass": 64})})
	var why string
	for _, p := range r.Status.OmittedPages() {
		if p.ID == "8" {
			why = p.Why
		}
	}
	if why != "no two configurations have numbers at one load" {
		t.Errorf("page 8 is omitted for %q", why)
	}
}

// A claim on the cover says what it lacks itself, and which gates its cells
// fail.
func TestClaimsOnTheCover(t *testing.T) {
	rows := rivals()
	review := perf.ReviewRows(rows, perf.Terms{Baseline: perf.Baseline{Name: "marlin", Config: "marlin"}, Claims: []perf.Claim{
		{About: perf.AboutThroughput, Config: "cutlass", Over: "marlin", Across: []string{"moe_backend"}},
	}})
	r := render(t, Input{Title: "Backends", Rows: rows, Review: review})
	if len(r.Status.Claims) != 1 {
		t.Fatalf("claims are %+v", r.Status.Claims)
	}
	c := r.Status.Claims[0]
	if c.Tier != perf.TierDraft || c.Outcome != "marlin at c=1; tie (1.1 % would have been found) at c=16; cutlass at c=64, c=256" {
		t.Errorf("the claim is %+v", c)
	}
	text := visible(r.HTML)
	for _, want := range append(c.Why, c.Claim, c.Outcome, "its cells fail V02, V05, V06, V08, V10", "missing: deepep at c=256 ((EngineCore pid=4242) RuntimeError: no kernel image is available)") {
		if !strings.Contains(text, want) {
			t.Errorf("the cover does not hold %q", want)
		}
	}
}
