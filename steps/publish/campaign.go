package publish

import (
	"cmp"
	"fmt"
	"slices"

	"pipeline/internal/frontier"
	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// campaignRow makes the row of campaign_v1. What only says when and by whom
// the row was written goes into volatile columns.
func (p *publication) campaignRow(env *steps.Env, lineage map[string]any, reportSum string) (perf.Row, error) {
	c := env.Campaign
	r := perf.NewRow(perf.Campaigns())
	r.SetText("campaign", c.Name)
	r.SetText("spec_path", c.Spec)
	if !c.SpecSum.IsZero() {
		r.SetText("spec_sha256", c.SpecSum.String())
	}
	r.SetText("run_id", c.RunID)
	r.SetText("owner", c.Labels["owner"])
	r.SetText("intent", c.Labels["intent"])
	if len(c.Labels) > 0 {
		r.SetJSON("labels", c.Labels)
	}
	r.SetText("focus", c.Focus)
	r.SetBool("simulated", slices.ContainsFunc(p.atlas, func(row perf.Row) bool { v, _ := row.Bool("simulated"); return v }))
	sum, err := perf.RowsDigest(perf.Atlas(), p.atlas)
	if err != nil {
		return r, err
	}
	r.SetText("atlas_sha256", sum.String())
	r.SetInt("atlas_rows", int64(len(p.atlas)))
	p.counts(r)
	p.names(r)
	p.rigor(r)
	p.report(r, reportSum)
	absent := map[string]any{
		"spec_yaml": "the spec is known by spec_path and spec_sha256 only", "report_uri": "the report lies in the store, under report_sha256",
		"tool_version": "not told to this step",
	}
	p.next(r, absent)
	p.ceilings(r, absent)
	r.SetList("gaps", append([]string{}, p.gaps...))
	r.SetJSON("lineage", lineage)
	r.SetJSON("extra_json", map[string]any{"absent": absent})
	return r, nil
}

func (p *publication) counts(r perf.Row) {
	n := report.Count(p.atlas)
	for column, v := range map[string]int{
		"cells_total": n.Total, "cells_full": n.Full, "cells_partial": n.Partial, "cells_failed": n.Failed,
		"cells_missing": n.Missing, "cells_plot_ready": n.PlotReady,
	} {
		r.SetInt(column, int64(v))
	}
	for _, row := range p.atlas {
		t := row.Time("started_at")
		if first := r.Time("created_at"); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			r.SetTime("created_at", t)
		}
	}
}

// names lists what the rows are about, each once, sorted.
func (p *publication) names(r perf.Row) {
	for column, of := range map[string]string{"models": "model", "hardware": "hardware", "quants": "quant", "engines": "engine"} {
		list := []string{}
		for _, row := range p.atlas {
			if v := row.Text(of); v != "" {
				list = append(list, v)
			}
		}
		slices.Sort(list)
		r.SetList(column, slices.Compact(list))
	}
	warnings := []string{}
	for _, row := range p.atlas {
		warnings = append(warnings, row.List("doubts")...)
	}
	slices.Sort(warnings)
	r.SetList("warnings", slices.Compact(warnings))
}

// rigor sets the lowest sol_rigor of the rows that have numbers. Rows of
// roofline sweeps, which are evidence and no cells of the campaign, count only
// where there are no others.
func (p *publication) rigor(r perf.Row) {
	order := []string{"none", "L1", "L3", "L4"}
	counts, lowest, grounded := map[string]any{}, len(order)-1, true
	measured := 0
	own := slices.ContainsFunc(p.atlas, func(row perf.Row) bool { return row.Text("agg") == "trial" && row.Extra()["roofline"] == nil })
	for _, row := range p.atlas {
		if row.Text("agg") != "trial" || row.Text("status") != string(perf.Full) || row.Extra()["roofline"] != nil && own {
			continue
		}
		level := cmp.Or(row.Text("sol_rigor"), "none")
		n, _ := counts[level].(int)
		counts[level] = n + 1
		lowest = min(lowest, max(0, slices.Index(order, level)))
		if ok, _ := row.Bool("dcgm_grounded"); !ok {
			grounded = false
		}
		measured++
	}
	if measured == 0 {
		lowest, grounded = 0, false
	}
	r.SetText("sol_rigor", order[lowest])
	r.SetJSON("sol_rigor_counts", counts)
	r.SetBool("dcgm_grounded", grounded)
}

func (p *publication) report(r perf.Row, reportSum string) {
	r.SetText("report_sha256", reportSum)
	r.SetText("verdict_tier", string(p.review.Tier))
	r.SetJSON("verdict_refusals", perf.GroupRefusals(p.review.Refusals))
	r.SetText("baseline_campaign", p.review.Baseline)
	r.SetBool("sol_complete", false)
	if p.status == nil {
		return
	}
	r.SetJSON("headline", p.status.Headline)
	r.SetJSON("report_status", p.status)
	missing := []any{}
	for _, page := range p.status.Pages {
		if page.Status == report.Omitted {
			missing = append(missing, map[string]any{"page": page.ID, "why": page.Why, "how_to_get": page.HowToGet})
		}
	}
	r.SetJSON("sol_missing", missing)
	r.SetBool("sol_complete", p.status.SoLComplete())
}

// next sets what to try next, as the campaign's focus ranks it.
func (p *publication) next(r perf.Row, absent map[string]any) {
	if p.frontier == nil {
		absent["next_lever"], absent["frontier"] = "the atlas brought no frontier.json", "the atlas brought no frontier.json"
		return
	}
	r.SetJSON("frontier", p.frontier)
	if lever, ok := p.frontier.Next(frontier.Focus(r.Text("focus"))); ok {
		r.SetJSON("next_lever", lever)
	} else {
		absent["next_lever"] = p.frontier.Text
	}
}

// ceilings sets the digest of the ceilings that all rows rest on.
func (p *publication) ceilings(r perf.Row, absent map[string]any) {
	var sums []string
	for _, row := range p.atlas {
		if s := row.Text("ceilings_digest"); s != "" && !slices.Contains(sums, s) {
			sums = append(sums, s)
		}
	}
	switch len(sums) {
	case 0:
		absent["ceilings_digest"] = "no row has ceilings"
	case 1:
		r.SetText("ceilings_digest", sums[0])
	default:
		absent["ceilings_digest"] = fmt.Sprintf("rows rest on %d different ceilings; each has its own digest", len(sums))
	}
}
