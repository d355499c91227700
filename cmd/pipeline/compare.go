package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/lake/perf"
	"pipeline/pipelines"
)

type compareFlags struct {
	across       []string
	allowResidue bool
	metrics      []string
	regression   bool
	tolerance    string
}

func (a *app) compareCmd() *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Say which of two configurations wins, load by load, and how sure that is",
		Long: `Compares A with B at each load that both were measured at; B is the baseline. Each is one of

  CAMPAIGN[/CONFIG][@REVISION]   what was published to the lake; the revision is the head of its digest
  SPEC.yaml[/CONFIG]             the same, by the campaign's spec
  ATLAS.json[/CONFIG]            the rows that an aggregate step wrote

Without CONFIG, configurations of one name are compared. Settings must be alike but for what --across names
and what follows from it: a comparison of anything else is refused, unless --allow-residue prints the residue
beside it.

A winner needs four trials a side, p < 0.05 by Welch's test on logarithms after Holm's correction over all
loads and metrics, and an effect beyond 2 % and twice the variation (docs/verdict.md). What is less is a tie,
or not significance-tested.

Exit codes: 0 compared, 1 could not be read, or worse than the tolerances with --regression, 2 refused, or
compared with gaps (with --regression: a tolerance that there was no number for), 3 usage.`,
		Example: `  pipeline compare glm-nvfp4/tp8 glm-fp8/tp8 --across quant
  pipeline compare glm-fp8/fp8-tp4 glm-fp8/fp8-tp8 --across tp
  pipeline compare .pipeline/out/glm-fp8/atlas/atlas.json/fp8-tp8 production/fp8-tp8 --regression`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error { return a.compare(cmd.Context(), given[0], given[1], f) },
	}
	cmd.Flags().StringSliceVar(&f.across, "across", nil, "fields of the setting that are compared: tp, quant, image (repeatable)")
	cmd.Flags().BoolVar(&f.allowResidue, "allow-residue", false, "compare although settings differ in other fields too, and print them")
	cmd.Flags().StringSliceVar(&f.metrics, "metric", nil, "columns to compare (default output_tps_per_gpu, headline_tpot_ms, headline_ttft_ms)")
	cmd.Flags().BoolVar(&f.regression, "regression", false, "fail (exit 1) where A is worse than B beyond the tolerances")
	cmd.Flags().StringVar(&f.tolerance, "tolerance", "ttft=5,throughput=3,prefix_hit=2", "how much worse A may be: percent, percent, percentage points; off: not tested")
	return cmd
}

// A compared is the outcome for one pair of configurations.
type compared struct {
	*perf.Comparison
	Regressions []string `json:"regressions,omitempty"`
	Untested    []string `json:"regressions_untested,omitempty"` // tolerances that there were no numbers for
}

func (a *app) compare(ctx context.Context, nameA, nameB string, f compareFlags) error {
	o := perf.CompareOptions{Across: f.across, AllowResidue: f.allowResidue}
	for _, field := range f.across {
		if !perf.IsField(field) {
			return usage(fmt.Errorf("--across %q is no field of a setting: pipeline lake query 'DESCRIBE atlas_v1' lists them", field))
		}
	}
	for _, column := range f.metrics {
		m, ok := perf.MetricOf(column)
		if !ok {
			return usage(fmt.Errorf("--metric %q is none of %s", column, metricNames()))
		}
		o.Metrics = append(o.Metrics, m)
	}
	tolerances, err := perf.ParseTolerances(f.tolerance)
	if err != nil {
		return usage(fmt.Errorf("--tolerance: %w", err))
	}
	one, err := a.subject(ctx, nameA)
	if err != nil {
		return err
	}
	two, err := a.subject(ctx, nameB)
	if err != nil {
		return err
	}
	pairs, gaps, err := pairsOf(one, two)
	if err != nil {
		return usage(err)
	}
	var out []compared
	tests := 0
	for _, p := range pairs {
		c := perf.Compare(p[0], p[1], o)
		tests += c.Tests
		out = append(out, compared{Comparison: c})
	}
	if len(pairs) > 1 { // the correction is over all that was asked at once
		o.Tests = tests
		for i, p := range pairs {
			out[i].Comparison = perf.Compare(p[0], p[1], o)
		}
	}
	for i := range out {
		if f.regression {
			out[i].Regressions, out[i].Untested = out[i].Comparison.Regressions(tolerances)
		}
	}
	return a.reportCompared(out, gaps)
}

func metricNames() string {
	var names []string
	for _, m := range perf.Metrics() {
		names = append(names, m.Column)
	}
	return strings.Join(names, ", ")
}

func (a *app) reportCompared(out []compared, gaps []string) error {
	if a.isJSON() {
		if err := a.json(map[string]any{"comparisons": out, "gaps": append([]string{}, gaps...)}); err != nil {
			return failed(err)
		}
	} else {
		for i, c := range out {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			printComparison(a.stdout, c)
		}
		for _, g := range gaps {
			a.printf("gap: %s\n", g)
		}
	}
	var worse, refused, untested []string
	incomplete := len(gaps) > 0
	for _, c := range out {
		worse = append(worse, c.Regressions...)
		untested = append(untested, c.Untested...)
		if c.Refused != "" {
			refused = append(refused, c.Refused)
		}
		incomplete = incomplete || len(c.Gaps) > 0
	}
	switch {
	case len(refused) > 0:
		return &exitError{exitGaps, hint(errors.New("not compared: "+strings.Join(refused, "; ")),
			"--across FIELD declares what is compared, --allow-residue compares all the same and prints what differs")}
	case len(worse) > 0:
		return failed(fmt.Errorf("worse than the baseline: %s", strings.Join(worse, "; ")))
	case len(untested) > 0:
		return &exitError{exitGaps, hint(fmt.Errorf("no regression was found, and not all was tested: %s", strings.Join(untested, "; ")),
			"measure it on both sides, or leave it out: --tolerance prefix_hit=off")}
	case incomplete:
		return &exitError{exitGaps, nil}
	}
	return nil
}

// A subject is one of the two arguments: cells by configuration.
type subject struct {
	name, config string
	cells        []perf.Cell
}

// subject resolves an argument: a file, a spec, or a campaign of the lake.
func (a *app) subject(ctx context.Context, text string) (subject, error) {
	for _, ext := range []string{".json", ".yaml", ".yml"} {
		head, config, ok := strings.Cut(text, ext)
		if !ok || config != "" && config[0] != '/' {
			continue
		}
		path := head + ext
		config = strings.TrimPrefix(config, "/")
		if ext == ".json" {
			return fileSubject(path, config)
		}
		campaign, err := pipelines.Load(os.ReadFile, path)
		if err != nil {
			return subject{}, usage(err)
		}
		return a.lakeSubject(ctx, campaign.Name, config, "")
	}
	text, revision, _ := strings.Cut(text, "@")
	campaign, config, _ := strings.Cut(text, "/")
	return a.lakeSubject(ctx, campaign, config, revision)
}

func fileSubject(path, config string) (subject, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return subject{}, usage(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), text)
	if err != nil {
		return subject{}, usage(fmt.Errorf("%s: %w", path, err))
	}
	return subjectOf(path, config, rows)
}

func (a *app) lakeSubject(ctx context.Context, campaign, config, revision string) (subject, error) {
	rows, _, err := a.lake().Rows(ctx, perf.Atlas(), campaign, revision)
	if err != nil {
		return subject{}, usage(hint(err, "run the campaign with a publish step, or name the atlas.json of an aggregate step"))
	}
	return subjectOf(campaign, config, rows)
}

func subjectOf(name, config string, rows []perf.Row) (subject, error) {
	s := subject{name: name, config: config, cells: perf.Cells(rows)}
	if have := s.configs(); config != "" && !slices.Contains(have, config) {
		return s, usage(fmt.Errorf("%s has no configuration %s; it has %s", name, config, strings.Join(have, ", ")))
	}
	return s, nil
}

// configs lists the configurations of a subject.
func (s subject) configs() []string {
	if s.config != "" && slices.ContainsFunc(s.cells, func(c perf.Cell) bool { return c.Config == s.config }) {
		return []string{s.config}
	}
	var out []string
	for _, c := range s.cells {
		out = append(out, c.Config)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s subject) side(config string) perf.Side {
	return perf.SideOf(s.name+"/"+config, config, s.cells)
}

// pairsOf says what is compared with what: the one configuration of each, or
// those of one name.
func pairsOf(a, b subject) (pairs [][2]perf.Side, gaps []string, err error) {
	x, y := a.configs(), b.configs()
	if a.name == b.name && slices.Equal(x, y) {
		return nil, nil, fmt.Errorf("A and B are the same: name two configurations, of %s", strings.Join(x, ", "))
	}
	if len(x) == 1 && len(y) == 1 {
		return [][2]perf.Side{{a.side(x[0]), b.side(y[0])}}, nil, nil
	}
	for _, config := range x {
		if slices.Contains(y, config) {
			pairs = append(pairs, [2]perf.Side{a.side(config), b.side(config)})
		} else {
			gaps = append(gaps, fmt.Sprintf("%s has no configuration %s", b.name, config))
		}
	}
	for _, config := range y {
		if !slices.Contains(x, config) {
			gaps = append(gaps, fmt.Sprintf("%s has no configuration %s", a.name, config))
		}
	}
	if len(pairs) == 0 {
		return nil, nil, fmt.Errorf("no configuration of A (%s) is one of B (%s): name one of each, as %s/%s", strings.Join(x, ", "), strings.Join(y, ", "), a.name, x[0])
	}
	return pairs, gaps, nil
}

func printComparison(w io.Writer, c compared) {
	fmt.Fprintf(w, "A %s\nB %s (baseline)\n", c.A, c.B)
	if c.Simulated {
		fmt.Fprintln(w, "SIMULATED: at least one side is of a simulated endpoint; its numbers say nothing of hardware")
	}
	printSettings(w, c.Comparison)
	for i := range firstFindings(c.Comparison) {
		printMetric(w, c.Comparison, i)
	}
	if c.Refused == "" {
		printWinners(w, c.Comparison)
	}
	for _, g := range c.Gaps {
		fmt.Fprintln(w, "gap:", g)
	}
	for _, x := range c.Excluded {
		fmt.Fprintln(w, "left out:", x)
	}
	for _, r := range c.Regressions {
		fmt.Fprintln(w, "REGRESSION:", r)
	}
	for _, u := range c.Untested {
		fmt.Fprintln(w, "NOT TESTED for a regression:", u)
	}
	fmt.Fprintf(w, "tier: %s\n", strings.ToUpper(string(c.Tier)))
	for _, g := range perf.GroupRefusals(c.Comparison.Refusals) {
		fmt.Fprintf(w, "  %s\n", g)
	}
}

func firstFindings(c *perf.Comparison) []perf.Finding {
	if len(c.Pairs) == 0 {
		return nil
	}
	return c.Pairs[0].Findings
}

// printSettings prints what the two have in common, and what they have not.
func printSettings(w io.Writer, c *perf.Comparison) {
	if len(c.Pairs) == 0 {
		return
	}
	var shared perf.Setting
	differs := map[string][]string{}
	for i, p := range c.Pairs {
		if i == 0 {
			shared = maps.Clone(p.Setting)
		}
		maps.DeleteFunc(shared, func(k, v string) bool { return p.Setting[k] != v })
		for f, v := range p.Differs {
			if text := v[0] + " / " + v[1]; !slices.Contains(differs[f], text) {
				differs[f] = append(differs[f], text)
			}
		}
	}
	fmt.Fprintf(w, "shared setting:\n%s", wrapped(shared))
	if len(c.Unknown) > 0 {
		fmt.Fprintf(w, "unknown on both sides, and perhaps not alike: %s\n", strings.Join(c.Unknown, ", "))
	}
	for _, f := range slices.Sorted(maps.Keys(differs)) {
		what := "compared"
		if slices.Contains(c.Residue, f) {
			what = "RESIDUE "
		}
		fmt.Fprintf(w, "%s %s: %s\n", what, f, strings.Join(differs[f], "; "))
	}
}

// wrapped prints a setting in lines that a terminal holds.
func wrapped(s perf.Setting) string {
	const width = 116
	var b strings.Builder
	line := " "
	for _, name := range s.Names() {
		word := " " + name + "=" + s[name]
		if len(line)+len(word) > width && line != " " {
			b.WriteString(line + "\n")
			line = " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

// printMetric prints one metric at every load.
func printMetric(w io.Writer, c *perf.Comparison, i int) {
	first := c.Pairs[0].Findings[i]
	m, _ := perf.MetricOf(first.Metric)
	better := "less is better"
	if m.Higher {
		better = "more is better"
	}
	fmt.Fprintf(w, "\n%s (%s)\n", first.Name, better)
	rows := [][]string{{"  load", "A", "B", "% of SoL A / B", "A over B", "95 % interval", "p (Holm)", "rank p", "detectable", "winner", "why"}}
	for _, p := range c.Pairs {
		f := p.Findings[i]
		rows = append(rows, []string{
			"  " + p.Load, levelText(f.A), levelText(f.B), sharesText(f.A, f.B), percent(f.Effect), interval(f.Low, f.High), pText(f.PHolm), pText(f.PRank), least(f.Detectable),
			winner(f), why(f),
		})
	}
	table(w, rows)
}

// why is what the columns do not say already.
func why(f perf.Finding) string {
	if f.Outcome == perf.WinsA || f.Outcome == perf.WinsB {
		return ""
	}
	return f.Why
}

func winner(f perf.Finding) string {
	switch f.Outcome {
	case perf.WinsA, perf.WinsB, perf.Tie:
		return string(f.Outcome)
	case perf.LeadsA:
		return "A (not tested)"
	case perf.LeadsB:
		return "B (not tested)"
	}
	return "-"
}

// sharesText prints what part of Speed of Light the two levels are.
func sharesText(a, b *perf.Level) string {
	text := func(l *perf.Level) string {
		if l == nil || l.PctSoL == nil {
			return "-"
		}
		return figures(*l.PctSoL, *l.PctSoL)
	}
	return text(a) + " / " + text(b)
}

func levelText(l *perf.Level) string {
	if l == nil {
		return "-"
	}
	text := figures(l.Mean, l.Mean)
	if l.Std != nil {
		text += " ± " + figures(*l.Std, l.Mean)
	}
	return fmt.Sprintf("%s n=%d", text, l.N)
}

// figures prints v with as many decimals as show four digits of beside.
func figures(v, beside float64) string {
	decimals := 0
	if a := math.Abs(beside); a > 0 {
		decimals = max(0, 3-int(math.Floor(math.Log10(a))))
	}
	return strconv.FormatFloat(v, 'f', min(decimals, 9), 64)
}

func percent(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%+.1f %%", *v)
}

func least(v *float64) string {
	if v == nil || math.IsInf(*v, 0) {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", *v)
}

func interval(low, high *float64) string {
	if low == nil || high == nil {
		return "-"
	}
	return fmt.Sprintf("%+.1f to %+.1f %%", *low, *high)
}

func pText(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.2g", *p)
}

func printWinners(w io.Writer, c *perf.Comparison) {
	fmt.Fprintf(w, "\np values are corrected over %d tests; a metric that is not tested has no p.\n", c.Tests)
	if len(c.Regimes) > 0 {
		fmt.Fprintln(w, "winner by regime of concurrency:")
		rows := [][]string{}
		for _, r := range c.Regimes {
			m, _ := perf.MetricOf(r.Metric)
			rows = append(rows, []string{"  " + r.Regime, "by " + m.Name, r.Text})
		}
		table(w, rows)
	}
	for _, x := range c.Crossings {
		fmt.Fprintln(w, "crossing:", x)
	}
}
