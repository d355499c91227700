package dcgm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/digest"
)

// ReportSchema names the shape of a Report.
const ReportSchema = "dcgm/v1"

// ReportFile is the name of the artifact that holds a Report.
const ReportFile = "dcgm.json"

// The values of Report.Quality.
const (
	QualityOK     = "ok"     // enough collections, and no check failed
	QualityLow    = "low"    // 3 or 4 collections, and no check failed
	QualityThin   = "thin"   // too few collections, or a field is missing
	QualityFailed = "failed" // a check failed
	QualityNone   = "none"   // no samples
)

// RigorL3 is the rigor of numbers that DCGM stands behind; RigorNone is what a
// report gives else.
const (
	RigorL3   = "L3"
	RigorNone = "none"
)

// A Report is what DCGM says of a cell.
type Report struct {
	Schema       string   `json:"schema"`
	CellID       string   `json:"cell_id"`
	Simulated    bool     `json:"simulated"`
	Source       Source   `json:"source"`
	SelectedBy   string   `json:"selected_by,omitempty"`
	FrozenDigest string   `json:"frozen_digest,omitempty"`
	Full         *Window  `json:"full_window,omitempty"`
	Steady       *Window  `json:"steady_window,omitempty"`
	Kept         *Window  `json:"kept_window,omitempty"` // the steady one, less what clocks make uncertain
	Trim         string   `json:"trim_method,omitempty"`
	IntervalS    *float64 `json:"collect_interval_s,omitempty"`
	Estimated    bool     `json:"collect_interval_estimated,omitempty"`

	GPUs      []GPUReport     `json:"gpus,omitempty"`
	Mean      map[string]Stat `json:"mean,omitempty"`      // over GPUs: of their means, medians, …
	Imbalance *float64        `json:"imbalance,omitempty"` // of memory activity: (max-min)/mean over GPUs

	EnergyJ         *float64 `json:"energy_j,omitempty"`    // all GPUs, over the steady window
	EnergyFrom      string   `json:"energy_from,omitempty"` // counter or power
	JPerOutputToken *float64 `json:"j_per_output_token,omitempty"`
	JPerTotalToken  *float64 `json:"j_per_total_token,omitempty"`
	ThrottleMask    *int64   `json:"throttle_mask,omitempty"` // every clock event reason of any GPU
	TempMaxC        *float64 `json:"temp_c_max,omitempty"`

	NEffMin   int     `json:"n_eff_min"`
	NEffWhere string  `json:"n_eff_where,omitempty"` // the GPU and field that have the fewest
	Dropped   Dropped `json:"dropped"`

	Checks   []Check   `json:"checks,omitempty"`
	Quality  string    `json:"quality"`
	Rigor    string    `json:"rigor"`
	Gap      string    `json:"gap,omitempty"`   // why there is no L3
	Close    []string  `json:"close,omitempty"` // how to close the gap
	Notes    []string  `json:"notes,omitempty"`
	Timeline *Timeline `json:"timeline,omitempty"`
}

// A GPUReport is what DCGM says of one GPU.
type GPUReport struct {
	GPU
	Pods   []string        `json:"pods,omitempty"`
	Fields map[string]Stat `json:"fields"` // by key: dram, tensor, …
}

// A Stat sums up one field over the kept collections.
type Stat struct {
	Field Field   `json:"field_id"`
	Mean  float64 `json:"mean"` // weighted by the time that each collection stands for
	Std   float64 `json:"sd"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	N     int     `json:"n_eff"` // kept collections
	From  string  `json:"from"`  // gauge, or counters
}

// keys are the names of fields in a report, as the columns of atlas_v1 have
// them.
var keys = map[Field]string{
	GR: "gr", SM: "sm", Occupancy: "occ", Tensor: "tensor", DRAM: "dram",
	PCIeTx: "pcie_tx_bps", PCIeRx: "pcie_rx_bps", NVLinkTx: "nvlink_tx_bps", NVLinkRx: "nvlink_rx_bps",
	SMClock: "sm_clock_mhz", MemClock: "mem_clock_mhz", MaxSMClock: "max_sm_clock_mhz", GPUTemp: "temp_c", Power: "power_w",
}

// shown is the order of fields in a report.
var shown = []Field{GR, SM, Occupancy, Tensor, DRAM, NVLinkTx, NVLinkRx, PCIeTx, PCIeRx, SMClock, MaxSMClock, MemClock, GPUTemp, Power}

// Key is the name of the field in a report, "" if it has none.
func (f Field) Key() string { return keys[f] }

// NoSamples is the report of a cell for which there is nothing.
func NoSamples(cell Cell, source Source, gap string, close ...string) *Report {
	r := &Report{Schema: ReportSchema, CellID: cell.ID, Simulated: cell.Simulated, Source: source, Quality: QualityNone, Rigor: RigorNone, Gap: gap, Close: close}
	if !cell.Full.Start.IsZero() {
		r.Full, r.Steady, r.Trim = &cell.Full, &cell.Steady, cell.Trim
	}
	return r
}

// Assess makes the report of a cell from its frozen samples.
func Assess(f *Frozen, sum digest.Digest, cell Cell) (*Report, error) {
	e, err := newEvidence(f, cell)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Schema: ReportSchema, CellID: cell.ID, Source: f.Source, SelectedBy: f.Selected, FrozenDigest: sum.String(),
		Full: &cell.Full, Steady: &cell.Steady, Trim: cell.Trim, Estimated: e.estimated,
		Simulated: cell.Simulated || f.Simulated || slices.ContainsFunc(f.GPUs, GPU.Simulated),
	}
	if e.kept.Seconds() > 0 {
		r.Kept = &e.kept
	}
	if !math.IsNaN(e.interval) {
		r.IntervalS = &e.interval
	}
	r.summarise(e)
	r.energy(e)
	r.count(e)
	for _, c := range checks() {
		one := c.run(e)
		one.Code, one.Title = c.code, c.title
		r.Checks = append(r.Checks, one)
	}
	r.Timeline = timeline(e)
	thin, how := e.thin()
	r.grade(thin, how)
	return r, nil
}

// summarise fills the figures by GPU and over GPUs.
func (r *Report) summarise(e *evidence) {
	for i := range e.gpus {
		g := &e.gpus[i]
		one := GPUReport{GPU: g.GPU, Pods: g.pods, Fields: map[string]Stat{}}
		for _, f := range shown {
			v, w := g.values(f)
			if len(v) > 0 {
				one.Fields[f.Key()] = statOf(f, v, w)
			}
		}
		r.counters(g, one.Fields)
		r.GPUs = append(r.GPUs, one)
		r.Dropped.add(g.Dropped)
		if mask, ok := g.mask(); ok {
			if r.ThrottleMask == nil {
				r.ThrottleMask = new(int64)
			}
			*r.ThrottleMask |= mask
		}
		if t, ok := one.Fields[GPUTemp.Key()]; ok && (r.TempMaxC == nil || t.Max > *r.TempMaxC) {
			r.TempMaxC = &t.Max
		}
	}
	r.Mean = meansOver(r.GPUs)
	if low, high, ok := e.extremes(DRAM); ok && len(e.gpus) > 1 {
		if mean, _ := e.mean(DRAM); mean > 0 {
			apart := (high.v - low.v) / mean
			r.Imbalance = &apart
		}
	}
}

// byCounter are the ratios that monotonic counters give exactly, however
// seldom they are read.
var byCounter = []struct{ ratio, part, whole Field }{
	{SM, SMCyclesActive, SMCyclesElapsed}, {Tensor, MMACyclesActive, SMCyclesElapsed},
}

// gaugeDiffers is by how much a gauge may differ from its counters.
const gaugeDiffers = 0.05

// counters puts the ratios of counters in the place of those of gauges, which
// stay as a cross-check.
func (r *Report) counters(g *gpuEvidence, fields map[string]Stat) {
	for _, b := range byCounter {
		from, to, _, _, ok := g.ends(b.part)
		low, high, _, _, okWhole := g.ends(b.whole)
		if !ok || !okWhole || high <= low {
			continue
		}
		exact := (to - from) / (high - low)
		s, gauge := fields[b.ratio.Key()]
		if gauge && math.Abs(s.Mean-exact) > gaugeDiffers*exact {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: the gauge %s has a mean of %.3f, its counters give %.3f; the counters stand", g.GPU, b.ratio, s.Mean, exact))
		}
		if !gauge {
			n, _ := g.values(b.part)
			s = Stat{Field: b.ratio, Min: exact, Max: exact, P50: exact, P95: exact, N: len(n)}
		}
		s.Mean, s.From = exact, "counters"
		fields[b.ratio.Key()] = s
	}
}

func statOf(f Field, v, w []float64) Stat {
	s := Stat{Field: f, N: len(v), Min: slices.Min(v), Max: slices.Max(v), From: "gauge"}
	s.Mean, _ = weighted(v, w)
	if len(v) > 1 {
		sum := 0.0
		for _, x := range v {
			sum += (x - s.Mean) * (x - s.Mean)
		}
		s.Std = math.Sqrt(sum / float64(len(v)-1))
	}
	sorted := slices.Sorted(slices.Values(v))
	s.P50, s.P95 = percentile(sorted, 50), percentile(sorted, 95)
	return s
}

// percentile interpolates between the two nearest ranks (Hyndman and Fan's
// type 7, as numpy does).
func percentile(sorted []float64, p float64) float64 {
	rank := p / 100 * float64(len(sorted)-1)
	low := int(rank)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (rank-float64(low))*(sorted[low+1]-sorted[low])
}

// meansOver averages each figure over the GPUs that have it; Min and Max are
// over all, N is the smallest.
func meansOver(gpus []GPUReport) map[string]Stat {
	means := map[string]Stat{}
	for _, f := range shown {
		var sum Stat
		n := 0
		for _, g := range gpus {
			s, ok := g.Fields[f.Key()]
			if !ok {
				continue
			}
			if n == 0 {
				sum = Stat{Field: f, Min: s.Min, Max: s.Max, N: s.N, From: s.From}
			}
			n++
			sum.Mean, sum.Std, sum.P50, sum.P95 = sum.Mean+s.Mean, sum.Std+s.Std, sum.P50+s.P50, sum.P95+s.P95
			sum.Min, sum.Max, sum.N = min(sum.Min, s.Min), max(sum.Max, s.Max), min(sum.N, s.N)
		}
		if n > 0 {
			k := float64(n)
			sum.Mean, sum.Std, sum.P50, sum.P95 = sum.Mean/k, sum.Std/k, sum.P50/k, sum.P95/k
			means[f.Key()] = sum
		}
	}
	return means
}

// An extreme is the mean of one GPU.
type extreme struct {
	GPU
	v float64
}

func (e *evidence) extremes(f Field) (low, high extreme, ok bool) {
	for i := range e.gpus {
		v, has := e.gpus[i].mean(f)
		if !has {
			continue
		}
		if x := (extreme{e.gpus[i].GPU, v}); !ok {
			low, high, ok = x, x, true
		} else if v < low.v {
			low = x
		} else if v > high.v {
			high = x
		}
	}
	return low, high, ok
}

func (e *evidence) mean(f Field) (float64, bool) {
	sum, n := 0.0, 0
	for i := range e.gpus {
		if v, ok := e.gpus[i].mean(f); ok {
			sum, n = sum+v, n+1
		}
	}
	return sum / float64(n), n > 0
}

// energy is that of all GPUs over the steady window: by the counter between
// the kept collections, carried to the length of the window, or else by power.
// A GPU without either leaves it unknown.
func (r *Report) energy(e *evidence) {
	total, from := 0.0, "counter"
	length := e.cell.Steady.Seconds()
	for i := range e.gpus {
		g := &e.gpus[i]
		if first, last, at, to, ok := g.ends(Energy); ok {
			total += (last - first) / 1e3 * length / (float64(to-at) / 1e3)
			continue
		}
		power, ok := g.mean(Power)
		if !ok {
			return
		}
		total, from = total+power*length, "power"
	}
	if len(e.gpus) == 0 || length <= 0 {
		return
	}
	r.EnergyJ, r.EnergyFrom = &total, from
	if out := e.cell.OutputTokens; out != nil && *out > 0 {
		each := total / *out
		r.JPerOutputToken = &each
		if in := e.cell.InputTokens; in != nil {
			all := total / (*out + *in)
			r.JPerTotalToken = &all
		}
	}
}

// count finds the GPU and the needed field that have the fewest collections.
func (r *Report) count(e *evidence) {
	r.NEffMin = math.MaxInt
	for i := range e.gpus {
		for _, f := range Needed(e.cell.Links) {
			if v, _ := e.gpus[i].values(f); len(v) < r.NEffMin {
				r.NEffMin, r.NEffWhere = len(v), fmt.Sprintf("%s, %s", e.gpus[i].GPU, f)
			}
		}
	}
	if len(e.gpus) == 0 {
		r.NEffMin = 0
	}
}

// thin says why there are too few collections, and how to get more.
func (e *evidence) thin() (why, close []string) {
	if _, all := e.lacking(); len(e.gpus) > 0 && len(all) > 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.Names()[0])
		}
		close = append(close, "add to the counters file of dcgm-exporter (-f): "+strings.Join(names, ", "))
	}
	fewest, where := math.MaxInt, ""
	for i := range e.gpus {
		for _, f := range Needed(e.cell.Links) {
			if v, _ := e.gpus[i].values(f); len(v) < fewest && e.gpus[i].has(f, e) {
				fewest, where = len(v), fmt.Sprintf("%s of %s", f, e.gpus[i].GPU)
			}
		}
	}
	switch {
	case where == "" || fewest >= enough:
	case math.IsNaN(e.interval):
		why = append(why, "the collect interval is not known: nothing in the samples changes")
		close = append(close, "declare collect_interval")
	default:
		need := windowNeeds*e.interval + 2*e.eps
		why = append(why, fmt.Sprintf("n_eff is %d for %s, and %d are needed: the steady window has %.1f s, and at a collect interval of %s it takes %.1f s (%d × the interval, and %s at both ends)",
			fewest, where, enough, e.cell.Steady.Seconds(), seconds(e.interval), need, windowNeeds, seconds(e.eps)))
		close = append(close, fmt.Sprintf("measure longer (a steady window of %.1f s or more), or collect more often: dcgm-exporter -c %.0f", need, 1e3*e.faster()))
	}
	return why, close
}

// faster is a collect interval that would suffice for this window, in seconds.
func (e *evidence) faster() float64 {
	fit := (e.cell.Steady.Seconds() - 2*e.eps) / windowNeeds
	for _, s := range []float64{10, 5, 2, 1, 0.5, 0.2, 0.1} { // 100 ms is the least that DCGM documents
		if s <= fit && s < e.interval {
			return s
		}
	}
	return 0.1
}

// grade sets quality and rigor from what was counted and checked. thin says
// what n_eff lacks, and how how to get it.
func (r *Report) grade(thin, how []string) {
	why := slices.Clone(thin)
	for _, c := range r.Checks {
		if c.Status == Fail {
			why = append(why, c.Code+": "+c.Text)
		}
	}
	failed := len(why) > len(thin)
	r.Rigor = RigorNone
	switch {
	case len(r.GPUs) == 0:
		r.Quality = QualityNone
	case failed && r.NEffMin >= Few:
		r.Quality = QualityFailed
	case r.NEffMin < Few:
		r.Quality = QualityThin
	case r.NEffMin < enough:
		r.Quality, r.Rigor = QualityLow, RigorL3
	default:
		r.Quality, r.Rigor = QualityOK, RigorL3
	}
	if r.Rigor == RigorNone {
		r.Gap, r.Close = strings.Join(why, "; "), how
	}
}

// NoVerdict lists the checks that keep the cell's numbers a draft.
func (r *Report) NoVerdict() []string {
	var out []string
	for _, c := range r.Checks {
		if c.NoVerdict {
			out = append(out, c.Code+": "+c.Text)
		}
	}
	return out
}

// Check returns the check of a code.
func (r *Report) Check(code string) (Check, bool) {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Code == code })
	if i < 0 {
		return Check{}, false
	}
	return r.Checks[i], true
}

// JSON writes the report for dcgm.json: indented for people, but for the
// timeline, which is for pages and stands on one line at the end.
func (r *Report) JSON() ([]byte, error) {
	head := *r
	head.Timeline = nil
	b, err := json.MarshalIndent(head, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ReportFile, err)
	}
	if r.Timeline != nil {
		line, err := json.Marshal(r.Timeline)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", ReportFile, err)
		}
		b = fmt.Appendf(bytes.TrimSuffix(b, []byte("\n}")), ",\n \"timeline\": %s\n}", line)
	}
	return append(b, '\n'), nil
}

// ReadReport reads dcgm.json.
func ReadReport(text []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", ReportFile, err)
	}
	if r.Schema != ReportSchema {
		return nil, fmt.Errorf("read %s: the schema is %s, want %q", ReportFile, strconv.Quote(r.Schema), ReportSchema)
	}
	return &r, nil
}
