package report

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// grounded are the rows of the sample with what aggregate would have put there
// from DCGM, and the reports of their cells: 4 GPUs, one sample a second for
// ten seconds, of which seconds 3 to 8 count.
func grounded() ([]perf.Row, []*dcgm.Report) {
	rows := sampleRows()
	var reports []*dcgm.Report
	for _, r := range rows {
		c, _ := r.Int("concurrency")
		if r.Text("agg") != "trial" || r.Text("status") != string(perf.Full) {
			continue
		}
		checks, texts := map[string]any{}, map[string]any{}
		for _, k := range dcgm.CheckNames() {
			checks[k.Code] = dcgm.Pass
		}
		report := &dcgm.Report{Schema: dcgm.ReportSchema, CellID: r.Text("cell_id"), Simulated: true, Source: dcgm.Source{Kind: dcgm.FromPrometheus}, NEffMin: 6, NEffWhere: "GPU 0"}
		zero := r.Time("started_at")
		full, kept := dcgm.NewWindow(zero, zero.Add(9*time.Second)), dcgm.NewWindow(zero.Add(2*time.Second), zero.Add(8*time.Second))
		interval := 1.0
		report.Full, report.Kept, report.IntervalS = &full, &kept, &interval
		hot := c == 4 && r.Text("config") == "fp8-tp8"
		report.Timeline = timeline(zero, float64(c)/100, hot)
		trial, _ := r.Int("trial")
		switch {
		case hot:
			checks["DC12"], texts["DC12"] = dcgm.Warn, "THROTTLED: GPU 3: 0x40, hardware thermal slowdown"
		case c == 8 && trial == 2:
			checks["DC04"], texts["DC04"] = dcgm.Fail, "GPUs idle during the window: wrong node, wrong UUIDs or wrong clock"
		}
		extra := r.Extra()
		extra["dcgm"] = map[string]any{"checks": checks, "texts": texts, "imbalance": 0.012, "close": []any{"name the cell's GPUs"}}
		absent, _ := extra["absent"].(map[string]any)
		delete(absent, "group:dcgm")
		good := checks["DC04"] == dcgm.Pass
		r.SetBool("dcgm_grounded", good)
		r.SetText("dcgm_quality", map[bool]string{true: "ok", false: "failed"}[good])
		r.SetText("sol_rigor", map[bool]string{true: "L3", false: "none"}[good])
		r.SetInt("dcgm_n_eff_min", 6)
		r.SetText("frozen_digest", digest.Of([]byte(r.Text("cell_id"))).String())
		r.SetFloat("hbm_pct_pred", 20+float64(c)/2)
		if good {
			r.SetFloat("dcgm_dram", 0.25+float64(c)/200)
			r.SetFloat("dcgm_tensor", 0.125)
			r.SetFloat("nvlink_tx_bps", 1.5e10)
			r.SetFloat("nvlink_rx_bps", 1.6e10)
			r.SetFloat("j_per_output_token", 2.5)
		} else {
			absent["group:dcgm"] = "DC04: GPUs idle during the window"
		}
		r.SetJSON("extra_json", extra)
		reports = append(reports, report)
	}
	return rows, reports
}

func timeline(zero time.Time, busy float64, hot bool) *dcgm.Timeline {
	t := &dcgm.Timeline{T0MS: zero.UnixMilli() - 1000, Keys: map[string]int{"dram": 1005}}
	for g := range 4 {
		line := dcgm.GPUTimeline{Index: g, Node: "gpu-07", V: map[string][]*dcgm.Rounded{}}
		for s := range 11 {
			v := dcgm.Rounded(busy * (1 + 0.1*math.Sin(float64(s+g))))
			watts := dcgm.Rounded(400)
			line.AtMS, line.Kept = append(line.AtMS, int64(1000*s)), append(line.Kept, s >= 4 && s <= 9)
			line.V["dram"], line.V["power_w"] = append(line.V["dram"], &v), append(line.V["power_w"], &watts)
			mask := int64(0)
			if hot && g == 3 && s == 6 {
				mask = 0x40
			}
			line.Mask = append(line.Mask, mask)
		}
		t.GPUs = append(t.GPUs, line)
	}
	return t
}

func TestPagesOfDCGM(t *testing.T) {
	rows, reports := grounded()
	in := sample()
	in.Rows, in.DCGM = rows, reports
	r := render(t, in)
	for _, id := range []string{"6", "6b"} {
		for _, p := range r.Status.Pages {
			if p.ID == id && (p.Status != Rendered || p.Why != "") {
				t.Errorf("page %s: %+v", id, p)
			}
		}
	}
	page := string(r.HTML)
	from, to := strings.Index(page, `id="page-6"`), strings.Index(page, `id="page-6b"`)
	end := strings.Index(page, `id="page-completeness"`)
	if from < 0 || to < from || end < to {
		t.Fatal("pages 6 and 6b are not there, in their order")
	}
	over, against := page[from:to], page[to:end]
	// Two configurations, and the cells on which a check does not pass: DC12 on
	// three trials, DC04 on one of each configuration; no more than eight.
	if n := strings.Count(over, "<details"); n != 7 {
		t.Errorf("%d cells are drawn, want 7", n)
	}
	if n := strings.Count(over, `class="alarm"`); n != 3*2 { // two charts a cell
		t.Errorf("%d marks of throttling", n)
	}
	if kept := strings.Count(over, `class="kept"`); kept != 7*2 {
		t.Errorf("%d windows are shaded", kept)
	}
	for _, want := range []string{"memory active, %", "power, W", "DC12 did not pass", "GPU 3 of gpu-07", "SIMULATED", "Not drawn", "n_eff is 6 at least (GPU 0)", "a point is the mean over the collect interval before it (1.00 s)"} {
		if !strings.Contains(over, want) {
			t.Errorf("page 6 does not say %q", want)
		}
	}
	text := visible([]byte(against))
	for _, want := range []string{"predicted, %", "DC12", "THROTTLED: GPU 3: 0x40", "Cells without L3", "DC04: GPUs idle during the window", "name the cell's GPUs", "3 cells, first concurrency=4,config=fp8-tp8,trial=1"} {
		if !strings.Contains(text, want) {
			t.Errorf("page 6b does not say %q:\n%s", want, text)
		}
	}
	if !regexp.MustCompile(`<td>52\.0</td><td>57\.0</td><td>12\.5</td>`).MatchString(against) { // c=64: 20+32 predicted, 25+32 measured
		t.Errorf("the numbers of c=64 are not in the table")
	}
	if !strings.Contains(against, "measured = predicted") {
		t.Error("the line on which predicted and measured are equal is not drawn")
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
}

// Without what they are made of the pages say what would bring it.
func TestPagesOfDCGMOmitted(t *testing.T) {
	rows, reports := grounded()
	in := sample()
	for name, c := range map[string]struct {
		in     func()
		status string
	}{
		"nothing":   {func() {}, "6 omitted, 6b omitted"},
		"rows only": {func() { in.Rows = rows }, "6 omitted, 6b rendered"},
		"both":      {func() { in.Rows, in.DCGM = rows, reports }, "6 rendered, 6b rendered"},
	} {
		in = sample()
		c.in()
		var got []string
		for _, p := range render(t, in).Status.Pages {
			if p.ID == "6" || p.ID == "6b" {
				got = append(got, p.ID+" "+p.Status)
				if p.Status == Omitted && (p.Why == "" || !strings.Contains(p.HowToGet, "dcgm_correlate")) {
					t.Errorf("%s: %+v", name, p)
				}
			}
		}
		if s := strings.Join(got, ", "); s != c.status {
			t.Errorf("%s: %s, want %s", name, s, c.status)
		}
	}
}
