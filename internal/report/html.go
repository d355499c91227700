package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// The template of the page, and those of single pages that it calls by name.
//
//go:embed *.html
var templates embed.FS

// A sheet is the page as the template prints it.
type sheet struct {
	Title, Campaign, Intent string
	Status                  Status
	Simulated               bool
	When                    string
	Counts                  Counts
	Verdict                 verdict
	Headlines               []card
	Shared                  []field
	SharedUnknown           []string
	SharedNone              []string
	SharedBy                string
	AlikeDoubts             []string
	Load, Pareto            []figure
	SoL                     *page4
	Roofline                *page7
	Frontier                *page9
	NextLever               string
	Comparison              *page8
	DCGM                    *page6
	Grounded                *page6b
	Cells, Trials           []cellRow
	Goodput                 bool
	Omitted                 []Page
	Digest                  string
	Absent                  []string
	Drivers                 []string
}

// A card is a headline on the cover.
type card struct {
	What, Value, Unit, Shape, Cell, Full, N, Window string
	SoL, Ceiling, Rigor                             string
	Doubts                                          []string
}

// A cellRow is a row of a table of cells: text, with every number in its own
// setting.
type cellRow struct {
	Name, Of, Status, Reason, Source, Row              string
	Simulated                                          bool
	ISL, OSL, Load, Prompts                            string
	TTFT, TTFTp99, TPOT, Out, PerGPU, PerUser, RPS, OK string
	SoL                                                string
	Also                                               string   // further numbers of the same span
	Parts                                              []string // of Name
	Own                                                []field
	Doubts                                             []string
}

func (v *view) html() ([]byte, error) {
	t, err := template.ParseFS(templates, "*.html")
	if err != nil {
		return nil, fmt.Errorf("report page: %w", err)
	}
	s, err := v.sheet()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "page.html", s); err != nil {
		return nil, fmt.Errorf("report page: %w", err)
	}
	return b.Bytes(), nil
}

func (v *view) sheet() (*sheet, error) {
	sum, err := perf.RowsDigest(perf.Atlas(), v.rows)
	if err != nil {
		return nil, err
	}
	s := &sheet{
		Title: v.in.Title, Campaign: v.in.Campaign, Intent: v.in.Intent, Status: v.status, Simulated: v.status.Simulated,
		Counts: v.status.Cells, When: v.when(), Verdict: v.verdict(),
		Load: v.againstLoad(), Pareto: v.pareto(), Comparison: v.compared,
		Omitted: v.status.OmittedPages(), Digest: sum.String(), AlikeDoubts: alikeDoubts(withoutSwept(v.rows)),
		Absent: v.absent(), Drivers: v.drivers(), SoL: v.sol, Roofline: v.roofline, Frontier: v.frontier, NextLever: v.nextLever(), DCGM: v.dcgm, Grounded: v.grounded,
	}
	for _, f := range sortedFields(v.shared) {
		switch f.Value {
		case perf.Unknown:
			s.SharedUnknown = append(s.SharedUnknown, f.Name)
		case "":
			s.SharedNone = append(s.SharedNone, f.Name)
		default:
			s.Shared = append(s.Shared, f)
		}
	}
	measured := 0
	for _, r := range withoutSwept(v.rows) {
		if r.SettingOf() != nil {
			measured++
		}
		c := v.cellRow(r, s.AlikeDoubts)
		s.Goodput = s.Goodput || c.OK != "–"
		if r.Text("agg") == "trial" {
			s.Trials = append(s.Trials, c)
		}
		if r.Text("agg") == "mean" || r.Text("status") != string(perf.Full) || !v.means[settingOf(r)] {
			s.Cells = append(s.Cells, c)
		}
	}
	s.SharedBy = fmt.Sprintf("all %d rows that have a measurement behind them", measured)
	for _, h := range v.status.Headline {
		s.Headlines = append(s.Headlines, v.card(h, s.AlikeDoubts))
	}
	return s, nil
}

var doubtCodeRE = regexp.MustCompile(`^([a-z0-9_]+): `)

// codes returns the names of doubts, each once: "client_lag" of "client_lag:
// requests left late". A doubt without a name stands whole.
func codes(doubts []string) []string {
	var out []string
	for _, d := range doubts {
		if m := doubtCodeRE.FindStringSubmatch(d); m != nil {
			d = m[1]
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

func (v *view) card(h Headline, alike []string) card {
	c := card{What: h.What, Value: number(h.Value), Unit: h.Unit, Cell: h.Cell, Full: h.Shape, N: fmt.Sprintf("n=%d", h.N), Window: h.Window}
	if h.Std > 0 {
		c.Value += " ± " + spread(h.Std, h.Value)
	}
	for _, r := range v.points {
		if r.Text("row_uid") == h.Row {
			c.Shape, c.Doubts = shortShape(r), codes(without(r.List("doubts"), alike))
			c.SoL, c.Ceiling, c.Rigor = solText(r), r.Text("sol_bandwidth_key"), r.Text("sol_rigor")
		}
	}
	return c
}

func (v *view) cellRow(r perf.Row, alike []string) cellRow {
	c := cellRow{
		Name: r.Text("cell_id"), Parts: strings.Split(r.Text("cell_id"), ","), Of: rowOf(r), Status: r.Text("status"), Reason: r.Text("status_reason"),
		Source: r.Text("source_sha256"), Row: r.Text("row_uid"), Simulated: simulated(r),
		ISL: whole(r, "isl"), OSL: whole(r, "osl"), Load: load(r), Prompts: whole(r, "num_prompts"),
		TTFT: withSpread(r, "headline_ttft_ms"), TTFTp99: withSpread(r, "headline_ttft_p99_ms"), TPOT: withSpread(r, "headline_tpot_ms"),
		Out: withSpread(r, "headline_output_tps"), PerGPU: withSpread(r, "output_tps_per_gpu"), PerUser: withSpread(r, "headline_tps_per_user"),
		RPS: withSpread(r, "headline_request_throughput_rps"), OK: withSpread(r, "headline_goodput_rps"),
		SoL: solText(r), Own: v.ownFields(r), Also: also(r),
	}
	c.Doubts = without(r.List("doubts"), alike)
	return c
}

// also gives the numbers that have no column of their own.
func also(r perf.Row) string {
	suffix := ""
	if r.Text("headline_window") == "steady" {
		suffix = "_steady"
	}
	var parts []string
	for _, n := range []struct{ name, column, unit string }{
		{"ITL median", "itl_ms_median" + suffix, " ms"},
		{"request latency median", "e2el_ms_median" + suffix, " ms"},
		{"prefix hit rate", "prefix_hit_rate", ""},
	} {
		if value := withSpread(r, n.column); value != "–" && value != "" {
			parts = append(parts, n.name+" "+value+n.unit)
		}
	}
	if text := crossText(r); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// crossText says what a second driver differs by.
func crossText(r perf.Row) string {
	x, _ := r.Extra()["cross_check"].(map[string]any)
	if x == nil {
		return ""
	}
	text := fmt.Sprintf("cross-check by %v %v", x["driver"], x["version"])
	if status, ok := x["status"].(string); ok {
		text += " (" + status + ")"
	}
	differ, _ := x["differ"].(map[string]any)
	var parts []string
	for _, n := range []struct{ label, name string }{
		{"TTFT", "ttft_ms_median"}, {"TPOT", "tpot_ms_median"}, {"output tok/s", "output_tps"}, {"input tokens", "input_tokens_mean"}, {"output tokens", "output_tokens_mean"},
	} {
		if v, ok := differ[n.name].(float64); ok {
			parts = append(parts, fmt.Sprintf("%s %+.1f%%", n.label, 100*v))
		}
	}
	if len(parts) == 0 {
		return text + ": no figure of both"
	}
	return text + ": " + strings.Join(parts, ", ")
}

// rowOf says what a row is: a trial or a mean of some, and over which span.
func rowOf(r perf.Row) string {
	what := r.Text("agg")
	if what == "mean" {
		what = fmt.Sprintf("mean, n=%d", trials(r))
	}
	switch r.Text("headline_window") {
	case "steady":
		what += ", steady window"
	case "full":
		what += ", whole run"
	}
	return what
}

// without returns the doubts of a row that are not said once for all.
func without(doubts, alike []string) []string {
	return slices.DeleteFunc(doubts, func(d string) bool { return slices.Contains(alike, d) })
}

// alikeDoubts returns the doubts that every measured row has: they are said
// once, above the table.
func alikeDoubts(rows []perf.Row) []string {
	var alike []string
	first := true
	for _, r := range rows {
		if r.Text("status") == string(perf.Missing) {
			continue
		}
		if first {
			alike, first = r.List("doubts"), false
			continue
		}
		alike = slices.DeleteFunc(alike, func(d string) bool { return !slices.Contains(r.List("doubts"), d) })
	}
	return alike
}

// when is the span of the measurements, from the rows.
func (v *view) when() string {
	var from, to string
	for _, r := range v.rows {
		if t := r.Time("started_at"); !t.IsZero() {
			if s := t.Format("2006-01-02 15:04"); from == "" || s < from {
				from = s
			}
		}
		if t := r.Time("ended_at"); !t.IsZero() {
			to = max(to, t.Format("2006-01-02 15:04"))
		}
	}
	if from == "" {
		return "nothing was measured"
	}
	if day, clock, ok := strings.Cut(to, " "); ok && strings.HasPrefix(from, day) {
		to = clock
	}
	return "measured " + from + " to " + to + " UTC"
}

// absent lists why columns are NULL, in how many rows, and which.
func (v *view) absent() []string {
	count := map[string]int{}
	for _, r := range v.rows {
		for _, line := range r.Absent() {
			count[line]++
		}
	}
	names := map[string][]string{} // by reason
	for _, line := range slices.Sorted(maps.Keys(count)) {
		name, why, _ := strings.Cut(line, ": ")
		why = fmt.Sprintf("%s (%d rows)", why, count[line])
		names[why] = append(names[why], name)
	}
	lines := []string{}
	for why, list := range names {
		lines = append(lines, why+": "+strings.Join(list, ", "))
	}
	slices.Sort(lines)
	return lines
}

func (v *view) drivers() []string {
	names := []string{}
	for _, r := range v.rows {
		if n := r.Text("bench_backend"); n != "" {
			names = append(names, strings.TrimSpace(n+" "+r.Text("bench_version")))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
