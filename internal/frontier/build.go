package frontier

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// Build finds the frontier of the rows of an atlas. Rows of roofline sweeps are
// evidence of their own page, and not cells of the campaign.
func Build(rows []perf.Row, lib *sol.Library, config *Config) *Frontier {
	if own := slices.DeleteFunc(slices.Clone(rows), swept); len(own) > 0 {
		rows = own
	}
	b := &builder{config: config, cells: cellsOf(rows, lib, config), values: trialValues(rows)}
	f := &Frontier{Schema: Schema, Cells: []Cell{}, Levers: []Lever{}, Refuted: []Lever{}}
	for _, c := range b.cells {
		f.Cells = append(f.Cells, c.verdict)
	}
	for _, l := range levers() {
		b.consider(f, l)
	}
	f.Levers = f.Ranked(Mixed)
	b.state(f, rows)
	return f
}

func swept(r perf.Row) bool { return r.Extra()["roofline"] != nil }

type builder struct {
	config *Config
	cells  []*cell
	values map[string][]float64
}

// consider adds a lever to the frontier, where it applies, and to the refuted
// ones, where it was tried in vain.
func (b *builder) consider(f *Frontier, l lever) {
	var tried []trial
	for _, t := range b.config.Tried {
		if t.Lever == l.id {
			tried = append(tried, trial{Tried: t})
		}
	}
	tried = append(tried, triedHere(l, b.cells, b.values)...)
	low := 1.0
	for _, t := range tried {
		if !t.refuted(b.config) {
			low = max(low, t.Low)
		}
	}
	out := Lever{ID: l.id, Name: l.name, Component: l.component, Risk: l.risk, Status: StatusOpen}
	var at []*cell
	for _, c := range b.cells {
		k, ok := l.gain(c)
		if !ok || l.throughputOnly && !b.mostLoaded(c) || done(tried, c, b.config) {
			continue
		}
		high := c.high(k)
		if high < b.config.Levers.LeastUnlock || math.IsInf(high, 0) {
			continue
		}
		out.Gains = append(out.Gains, Gain{Cell: c.Text("cell_id"), Row: c.Text("row_uid"), Low: min(low, high), High: high, PartMS: 1e3 * k.part, Reduces: k.reduces, Basis: k.basis, Gate: b.gate(l, c)})
		if k.first != "" {
			out.Status, out.First = StatusMeasureFirst, k.first
		}
		at = append(at, c)
	}
	for _, t := range tried {
		if t.refuted(b.config) {
			refuted := Lever{ID: l.id, Name: l.name, Component: l.component, Risk: l.risk, Status: StatusRefuted, Gains: []Gain{}, Low: t.Low, High: t.High, Evidence: t.text(), Basis: where(t)}
			f.Refuted = append(f.Refuted, refuted)
		}
	}
	if len(at) == 0 {
		return
	}
	b.weigh(&out, l, at)
	f.Levers = append(f.Levers, out)
}

func where(t trial) string {
	if t.Config == "" {
		return "everywhere"
	}
	return "configuration " + t.Config
}

// done reports whether a lever was tried at a cell, or refuted for its
// configuration: there it is no next lever.
func done(tried []trial, c *cell, config *Config) bool {
	for _, t := range tried {
		if t.without == c.Text("row_uid") {
			return true
		}
		if t.without == "" && t.refuted(config) && (t.Config == "" || t.Config == c.Text("config")) {
			return true
		}
	}
	return false
}

// mostLoaded reports whether no cell of the same configuration has more
// streams: of those below it, the next step is measured already.
func (b *builder) mostLoaded(c *cell) bool {
	streams, _ := c.Int("concurrency")
	return !slices.ContainsFunc(b.cells, func(o *cell) bool {
		n, _ := o.Int("concurrency")
		return n > streams && o.Text("config") == c.Text("config")
	})
}

// weigh sets the cost, the value and the score of a lever, and its interval:
// that of the cell where it may give most.
func (b *builder) weigh(out *Lever, l lever, at []*cell) {
	for _, c := range at {
		out.GPUHours += float64(b.config.Gate.Trials) * (b.config.Gate.LoadS + c.number("duration_s")) * float64(c.d.TotalGPUs()) / 3600
	}
	out.Cost = out.GPUHours * b.config.Risks[l.risk]
	out.Value, out.Score, out.Best = map[Focus]float64{}, map[Focus]float64{}, map[Focus]int{}
	for _, focus := range Focuses() {
		value := 0.0
		for i, c := range at {
			g, w := out.Gains[i], b.weight(focus, c)
			if w == 0 || l.throughputOnly && focus == Latency {
				continue
			}
			value += w * (math.Log(g.Low) + math.Log(g.High)) / 2
			if best, ok := out.Best[focus]; !ok || g.High > out.Gains[best].High {
				out.Best[focus] = i
			}
		}
		out.Value[focus] = value
		if out.Cost > 0 {
			out.Score[focus] = value / out.Cost
		}
	}
	g := out.Gains[out.Best[Mixed]]
	out.Low, out.High, out.Basis, out.Gate = g.Low, g.High, g.Basis, g.Gate
}

func (b *builder) gate(l lever, c *cell) string {
	text := fmt.Sprintf("%s with %s, %d trials on one node: proved if the 95 %% interval of the gain lies above %.2fx, refuted if it lies below", c.verdict.Shape, l.change, b.config.Gate.Trials, b.config.Levers.LeastUnlock)
	if l.proof != "" {
		text += "; and " + l.proof
	}
	return text
}

// weight of a cell under a focus; the weights of all cells sum to one.
func (b *builder) weight(focus Focus, c *cell) float64 {
	in := b.inFocus(focus)
	if !slices.Contains(in, c) {
		return 0
	}
	return 1 / float64(len(in))
}

// inFocus returns the cells that a focus looks at: few streams, many, or all.
// Where a campaign has none, those nearest to it.
func (b *builder) inFocus(focus Focus) []*cell {
	streams := func(c *cell) int64 { n, _ := c.Int("concurrency"); return n }
	if focus == Mixed || len(b.cells) == 0 {
		return b.cells
	}
	least, most := int64(math.MaxInt64), int64(0)
	for _, c := range b.cells {
		least, most = min(least, streams(c)), max(most, streams(c))
	}
	low, high := max(b.config.Regimes.LatencyMax, least), min(b.config.Regimes.ThroughputMin, most)
	return slices.DeleteFunc(slices.Clone(b.cells), func(c *cell) bool {
		if focus == Latency {
			return streams(c) > low
		}
		return streams(c) < high
	})
}

// state decides whether the record of what is next is complete.
func (b *builder) state(f *Frontier, rows []perf.Row) {
	wall, where := b.wall()
	open := slices.ContainsFunc(f.Levers, func(l Lever) bool { return l.Status == StatusOpen })
	switch {
	case open:
		f.State = Open
		f.Text = fmt.Sprintf("%d levers are open, %d wait for evidence, %d are refuted", count(f, StatusOpen), count(f, StatusMeasureFirst), len(f.Refuted))
	case wall:
		f.State, f.Text = Empty, "FRONTIER EMPTY: documented wall at "+where
	case len(f.Levers) == 0 && len(f.Refuted) > 0 && len(b.cells) > 0:
		f.State, f.Text = Empty, fmt.Sprintf("FRONTIER EMPTY: all %d levers that apply are refuted, at %s", len(f.Refuted), where)
	case len(b.cells) == 0:
		f.State, f.Text = Required, "FRONTIER_REQUIRED: no cell has floors, so that nothing says where its time goes: "+whyNone(rows)
	case len(f.Levers) > 0:
		f.State, f.Text = Required, "FRONTIER_REQUIRED: no lever is open, and those that may help wait for evidence; measure first: "+f.Levers[0].First
	default:
		f.State, f.Text = Required, "FRONTIER_REQUIRED: no lever applies, and no wall is documented: "+where
	}
}

func count(f *Frontier, status string) int {
	n := 0
	for _, l := range f.Levers {
		if l.Status == status {
			n++
		}
	}
	return n
}

// wall reports whether every cell is as near to what tools reached as can be
// asked, and says how near the worst is. The ceiling is the one that nothing
// can pass: prefill and decode share steps without loss.
func (b *builder) wall() (bool, string) {
	if len(b.cells) == 0 {
		return false, "no cell has floors"
	}
	worst, text := math.Inf(1), ""
	for _, c := range b.cells {
		reached, source, ok := c.d.Reached()
		out, told := c.Float("output_tps_per_gpu")
		if !ok || !told {
			return false, "what tools reach on " + c.d.GPU.Key + " is not known"
		}
		f, err := reached.Floors(c.load)
		if err != nil {
			return false, err.Error()
		}
		if share := 100 * out / f.Overlapped; share < worst {
			worst, text = share, source
		}
	}
	return worst >= b.config.Wall, fmt.Sprintf("%.0f %% of achievable (%s)", worst, text)
}

func whyNone(rows []perf.Row) string {
	var why []string
	for _, r := range rows {
		absent, _ := r.Extra()["absent"].(map[string]any)
		for _, name := range []string{"group:sol", "pct_sol"} {
			if text, ok := absent[name].(string); ok && !strings.HasPrefix(text, "SOL_NO_NUMBERS") && !slices.Contains(why, text) {
				why = append(why, text)
			}
		}
	}
	if len(why) > 3 {
		why = append(why[:3], fmt.Sprintf("and %d more reasons", len(why)-3))
	}
	return strings.Join(why, "; ")
}
