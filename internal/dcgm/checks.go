package dcgm

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The outcomes of a check.
const (
	Pass       = "pass"
	Warn       = "warn"
	Fail       = "fail"
	NotChecked = "not checked" // what it needs is not there
)

// A Check is the outcome of one of DC01 to DC15.
type Check struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Status string `json:"status"`
	Text   string `json:"text"` // what was seen, with the numbers
	// NoVerdict says that the cell's numbers may be true and still are not
	// those of the hardware undisturbed: they stay draft.
	NoVerdict bool `json:"no_verdict,omitempty"`
}

// checks lists all checks in order. Each is a function of the evidence alone.
func checks() []struct {
	code, title string
	run         func(*evidence) Check
} {
	return []struct {
		code, title string
		run         func(*evidence) Check
	}{
		{"DC01", "samples of all fields needed", checkSamples},
		{"DC02", "telemetry file not empty", checkFile},
		{"DC03", "number of GPUs", checkCount},
		{"DC04", "GPUs busy during the window", checkBusy},
		{"DC05", "idle before and after", checkEdges},
		{"DC06", "nobody else on the node", checkTenants},
		{"DC07", "traffic against the model's minimum", physicsUnknown},
		{"DC08", "values that change", checkConstant},
		{"DC09", "values that can be", checkRange},
		{"DC10", "clocks", checkClock},
		{"DC11", "gaps", checkGap},
		{"DC12", "throttling", checkThrottle},
		{"DC13", "XID and memory errors", checkErrors},
		{"DC14", "energy against power", checkEnergy},
		{"DC15", "GPUs alike", checkBalance},
	}
}

// CheckNames lists the checks by code and title.
func CheckNames() []Check {
	var out []Check
	for _, c := range checks() {
		out = append(out, Check{Code: c.code, Title: c.title})
	}
	return out
}

func outcome(status, format string, a ...any) Check {
	return Check{Status: status, Text: fmt.Sprintf(format, a...)}
}

// disturbed is an outcome that bars a verdict.
func disturbed(status, format string, a ...any) Check {
	c := outcome(status, format, a...)
	c.NoVerdict = true
	return c
}

// notDefault says what dcgm-exporter's default counters file has of a field
// that is needed (NVIDIA/dcgm-exporter at d5e5f51, etc/default-counters.csv).
var notDefault = map[Field]string{
	SM: "commented out in default-counters.csv", NVLinkTx: "not in default-counters.csv", NVLinkRx: "not in default-counters.csv",
}

// lacking returns the needed fields of which some GPU has no sample in the
// window, and those of which none has.
func (e *evidence) lacking() (some, all []Field) {
	for _, f := range Needed(e.cell.Links) {
		have := 0
		for i := range e.gpus {
			if e.gpus[i].has(f, e) {
				have++
			}
		}
		switch {
		case have == 0:
			all = append(all, f)
		case have < len(e.gpus):
			some = append(some, f)
		}
	}
	return some, all
}

func checkSamples(e *evidence) Check {
	needed := Needed(e.cell.Links)
	if len(e.gpus) == 0 {
		return outcome(Fail, "0 samples: no series matches %s in %s", e.frozen.Selected, e.cell.Steady)
	}
	some, all := e.lacking()
	switch {
	case len(all) > 0:
		var names []string
		for _, f := range all {
			name := f.String()
			if why := notDefault[f]; why != "" {
				name += ": " + why
			}
			names = append(names, name)
		}
		return outcome(Fail, "0 samples for %s on %s in %s; the source has %d of %d required fields (missing %s)",
			all[0].Names()[0], e.where(), e.cell.Steady, len(needed)-len(all), len(needed), strings.Join(names, "; "))
	case len(some) > 0:
		return outcome(Fail, "%s: samples of some GPUs only in %s", joinFields(some), e.cell.Steady)
	}
	return outcome(Pass, "%d of %d required fields on all %d GPUs", len(needed), len(needed), len(e.gpus))
}

func joinFields(fields []Field) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

// where names the nodes of the cell.
func (e *evidence) where() string {
	var nodes []string
	for _, g := range e.gpus {
		if g.Node != "" && !slices.Contains(nodes, g.Node) {
			nodes = append(nodes, g.Node)
		}
	}
	switch len(nodes) {
	case 0:
		return fmt.Sprintf("%d GPUs of a node that is not named", len(e.gpus))
	case 1:
		return "node " + nodes[0]
	}
	return "nodes " + strings.Join(nodes, ", ")
}

func checkFile(e *evidence) Check {
	s := e.frozen.Source
	switch {
	case s.File == "":
		return outcome(NotChecked, "the source is no file")
	case s.Size == 0:
		return outcome(Fail, "telemetry file %s is there and empty (0 bytes): the exporter was not reachable, or telemetry was off", s.File)
	case len(e.frozen.Lines) == 0:
		return outcome(Fail, "telemetry file %s has %d bytes and no sample of a GPU", s.File, s.Size)
	}
	return outcome(Pass, "telemetry file %s has %d bytes", s.File, s.Size)
}

func checkCount(e *evidence) Check {
	found := 0
	for i := range e.gpus {
		if len(e.gpus[i].all) > 0 {
			found++
		}
	}
	switch {
	case e.cell.GPUs == 0:
		return outcome(NotChecked, "how many GPUs served the cell is not known; series found for %d (%s)", found, e.frozen.Selected)
	case found < e.cell.GPUs:
		return outcome(Fail, "cell uses %d GPUs, series found for %d (%s)", e.cell.GPUs, found, e.frozen.Selected)
	case found > e.cell.GPUs:
		return outcome(Fail, "cell uses %d GPUs, series found for %d (%s); name the cell's with gpus (UUIDs), or node and indices", e.cell.GPUs, found, e.frozen.Selected)
	}
	return outcome(Pass, "%d of %d GPUs (%s)", found, e.cell.GPUs, e.frozen.Selected)
}

// idleBelow is the share of time below which a GPU did nothing.
const idleBelow = 0.05

func checkBusy(e *evidence) Check {
	busiest, seen := 0.0, false
	for i := range e.gpus {
		if v, ok := e.gpus[i].mean(GR); ok {
			busiest, seen = max(busiest, v), true
		}
	}
	switch {
	case !seen || e.cell.OutputTPS == nil:
		return outcome(NotChecked, "no samples of %s, or no throughput", GR)
	case busiest < idleBelow && *e.cell.OutputTPS > 0:
		return outcome(Fail, "GPUs idle during the window (graphics engine active at most %.1f %%) while the bench reports %.0f tok/s: wrong node, wrong UUIDs or wrong clock", 100*busiest, *e.cell.OutputTPS)
	}
	return outcome(Pass, "graphics engine active up to %.1f %% of the window", 100*busiest)
}

// checkEdges looks at one collection wholly before the load, and one wholly
// after it.
func checkEdges(e *evidence) Check {
	lag, avg := e.frozen.Source.coverage()
	reach := int64((lag + avg) * e.interval * 1e3)
	var seen []string
	for _, f := range []Field{GR, DRAM} {
		for _, edge := range []string{"before", "after"} {
			sum, n, in, nIn := 0.0, 0, 0.0, 0
			for i := range e.gpus {
				g := &e.gpus[i]
				if v, ok := g.edge(f, edge == "before", e.cell.Full, reach); ok {
					sum, n = sum+v, n+1
				}
				if v, ok := g.mean(f); ok {
					in, nIn = in+v, nIn+1
				}
			}
			if n == 0 || nIn == 0 {
				continue
			}
			outside, inside := sum/float64(n), in/float64(nIn)
			text := fmt.Sprintf("%s %.2f %s, %.2f within", f.Key(), outside, edge, inside)
			if inside >= idleBelow && outside > 0.5*inside {
				return disturbed(Warn, "load existed %s the bench: co-tenant or previous cell (%s)", edge, text)
			}
			seen = append(seen, text)
		}
	}
	if len(seen) == 0 {
		return outcome(NotChecked, "no collection lies wholly before or after the load; capture at least 3 collect intervals around it")
	}
	return outcome(Pass, "%s", strings.Join(seen, "; "))
}

// edge returns the value of the last collection that ends before the window,
// or of the first one that begins after it.
func (g *gpuEvidence) edge(f Field, before bool, full Window, reach int64) (v float64, ok bool) {
	for _, c := range g.all {
		x, has := c.values[f]
		switch {
		case !has:
		case before && c.at <= full.Start.UnixMilli():
			v, ok = x, true
		case !before && !ok && c.at-reach >= full.End.UnixMilli():
			v, ok = x, true
		}
	}
	return v, ok
}

// busyNeighbour is the activity from which a GPU beside the cell's is in use.
const busyNeighbour = 0.1

func checkTenants(e *evidence) Check {
	pods := e.frozen.Workload.Pods
	if len(pods) > 0 {
		for i := range e.gpus {
			for _, p := range e.gpus[i].pods {
				if !slices.Contains(pods, p) {
					return disturbed(Fail, "%s is used by pod %s, which does not serve the cell (%s does)", e.gpus[i].GPU, p, strings.Join(pods, ", "))
				}
			}
		}
	}
	var busy []string
	looked := 0
	for i := range e.neighbours {
		v, ok := e.neighbours[i].mean(GR)
		if ok {
			looked++
		}
		if v > busyNeighbour {
			busy = append(busy, fmt.Sprintf("%s (%.0f %% active)", e.neighbours[i].GPU, 100*v))
		}
	}
	switch {
	case len(busy) > 0:
		return disturbed(Warn, "co-tenant on %s: it shares power, memory controllers of the host and links with the cell", strings.Join(busy, ", "))
	case looked == 0 && len(pods) == 0:
		return outcome(NotChecked, "the cell names no pods, and the source shows no other GPU of the node")
	}
	return outcome(Pass, "%d other GPUs of the node idle; pods of the cell: %s", looked, orNone(strings.Join(pods, ", ")))
}

func orNone(s string) string {
	if s == "" {
		return "not named"
	}
	return s
}

func physicsUnknown(*evidence) Check {
	return outcome(NotChecked, "the bytes that the model must move are not known here; aggregate checks it where the Speed-of-Light model applies")
}

func checkConstant(e *evidence) Check {
	most := 0
	for i := range e.gpus {
		g := &e.gpus[i]
		if len(g.kept) < enough {
			continue
		}
		most = max(most, len(g.kept))
		stuck, all := 0, 0
		for _, f := range []Field{GR, SM, Tensor, DRAM} {
			v, _ := g.values(f)
			if len(v) < enough {
				continue
			}
			all++
			// Nothing but zeros is idleness, which is DC04.
			if slices.Min(v) == slices.Max(v) && v[0] != 0 {
				stuck++
			}
		}
		if all > 0 && stuck == all {
			v, _ := g.values(DRAM)
			return outcome(Fail, "%s shows the same figures in all of %d collections (memory active %v) while the load varies: the exporter is stale", g.GPU, len(g.kept), first(v))
		}
	}
	if most == 0 {
		return outcome(NotChecked, "no GPU has %d collections in the window", enough)
	}
	return outcome(Pass, "figures vary over up to %d collections", most)
}

func first(v []float64) any {
	if len(v) == 0 {
		return "unknown"
	}
	return v[0]
}

// blankShare is the share of samples that may be DCGM's "not available".
const blankShare = 0.05

func checkRange(e *evidence) Check {
	var d Dropped
	for i := range e.gpus {
		d.add(e.gpus[i].Dropped)
	}
	if d.Samples == 0 {
		return outcome(NotChecked, "no samples in the window")
	}
	if d.OutOfRange > 0 {
		return outcome(Fail, "%d of %d samples are ratios outside 0 to 1%s", d.OutOfRange, d.Samples, e.scaled())
	}
	for _, f := range Needed(e.cell.Links) {
		if n := e.tally[f]; float64(n.blank) > blankShare*float64(n.all) {
			return outcome(Fail, "%d of %d samples of %s (%.0f %%) are DCGM's sentinel for \"not available\": more than %.0f %%", n.blank, n.all, f, 100*float64(n.blank)/float64(n.all), 100*blankShare)
		}
	}
	return outcome(Pass, "%d of %d samples blank, none out of range", d.Blank, d.Samples)
}

// fewInRange is the share of samples that a source in percent may have between
// 0 and 1: of GPUs that idle in a part of an interval.
const fewInRange = 0.2

// scaled says more where a source seems to write ratios as percentages.
func (e *evidence) scaled() string {
	for _, f := range []Field{DRAM, GR, SM, Tensor} {
		v := e.tally[f].highest
		if v == 0 {
			continue
		}
		text := fmt.Sprintf(" (%s up to %.4g)", f.Names()[0], v)
		n := e.tally[f]
		if v <= 100 && v > ratioHigh && float64(n.inRange) <= fewInRange*float64(n.all) {
			text += ": the source seems to scale ratios to percent; if so, declare it with ratios_in_percent: true"
		}
		return text
	}
	return ""
}

// mostSkew is by how much clocks may differ.
const mostSkew = 5.0

func checkClock(e *evidence) Check {
	s := e.frozen.Source
	switch {
	case s.Kind == FromScrape:
		return outcome(Pass, "samples were stamped by the process that measured")
	case abs(s.SkewS) > mostSkew:
		return outcome(Fail, "the clock of %s is %.1f s off the one of the measurement (at most %.0f s): run NTP on both", s.Kind, s.SkewS, mostSkew)
	case s.Kind == FromPrometheus:
		return outcome(Pass, "the clock of Prometheus is %.2f s off; %.1f s given up at both ends", s.SkewS, e.eps)
	}
	return outcome(NotChecked, "the clock behind %s was not compared; %.1f s given up at both ends", s.Kind, e.eps)
}

func checkGap(e *evidence) Check {
	widest, where := 0.0, ""
	lag, avg := e.frozen.Source.coverage()
	for i := range e.gpus {
		g := &e.gpus[i]
		if len(g.kept) == 0 {
			continue
		}
		at := e.kept.Start.UnixMilli() + int64((lag+avg)*e.interval*1e3)
		for _, c := range append(slices.Clone(g.kept), collection{at: e.kept.End.UnixMilli()}) {
			if gap := float64(c.at-at) / 1e3; gap > widest {
				widest, where = gap, g.GPU.String()
			}
			at = c.at
		}
	}
	switch {
	case where == "":
		return outcome(NotChecked, "no collection lies in the window")
	case widest > widestGap*e.interval:
		return outcome(Fail, "%.2f s without a collection of %s: more than %d × the collect interval of %s", widest, where, widestGap, seconds(e.interval))
	}
	return outcome(Pass, "at most %.2f s between two collections", widest)
}

// Bits of field 112 (NVML's clocks event reasons).
const (
	reasonPowerCap   = 0x4
	reasonSlowdown   = 0x8
	reasonThermal    = 0x20
	reasonHWThermal  = 0x40
	reasonPowerBrake = 0x80
	// Throttling are the reasons that mean that a GPU ran slower than it could:
	// all but the power cap, where a busy GPU usually is.
	Throttling = reasonSlowdown | reasonThermal | reasonHWThermal | reasonPowerBrake
)

func reasons(mask int64) string {
	var names []string
	for _, r := range []struct {
		bit  int64
		name string
	}{
		{reasonPowerCap, "software power cap"}, {reasonSlowdown, "hardware slowdown"}, {reasonThermal, "software thermal slowdown"},
		{reasonHWThermal, "hardware thermal slowdown"}, {reasonPowerBrake, "hardware power brake"},
	} {
		if mask&r.bit != 0 {
			names = append(names, r.name)
		}
	}
	return strings.Join(names, ", ")
}

// mask is every clock event reason of a kept collection.
func (g *gpuEvidence) mask() (mask int64, ok bool) {
	v, _ := g.values(ClockReasons)
	for _, m := range v {
		mask |= int64(m)
	}
	return mask, len(v) > 0
}

func checkThrottle(e *evidence) Check {
	var slow, capped []string
	looked := false
	for i := range e.gpus {
		g := &e.gpus[i]
		mask, ok := g.mask()
		from, to, _, _, counter := g.ends(ThermalViolation)
		looked = looked || ok || counter
		switch {
		case mask&Throttling != 0:
			slow = append(slow, fmt.Sprintf("%s: 0x%x, %s", g.GPU, mask, reasons(mask&Throttling)))
		case counter && to > from:
			slow = append(slow, fmt.Sprintf("%s: %.2f s below the clock for heat", g.GPU, (to-from)/1e9))
		case mask&reasonPowerCap != 0:
			capped = append(capped, g.GPU.String())
		}
	}
	switch {
	case len(slow) > 0:
		return disturbed(Warn, "THROTTLED: %s", strings.Join(slow, "; "))
	case !looked:
		return outcome(NotChecked, "no samples of %s or of %s", ClockReasons, ThermalViolation)
	case len(capped) > 0:
		return outcome(Pass, "software power cap on %s, which is usual near the power limit", strings.Join(capped, ", "))
	}
	return outcome(Pass, "no clock event but idling")
}

func checkErrors(e *evidence) Check {
	var bad []string
	looked := false
	for i := range e.gpus {
		g := &e.gpus[i]
		if v, _ := g.values(XID); len(v) > 0 {
			looked = true
			if xid := slices.Max(v); xid != 0 {
				bad = append(bad, fmt.Sprintf("%s: XID %.0f", g.GPU, xid))
			}
		}
		for _, f := range []Field{ECCDoubleBit, RemappedRows, RemapFailure} {
			v, _ := g.values(f)
			if len(v) == 0 {
				continue
			}
			looked = true
			// The change is from what stood before the load, where that was seen.
			was := v[0]
			if before, ok := g.edge(f, true, e.cell.Full, 0); ok {
				was = before
			}
			if last := slices.Max(v); last != was {
				bad = append(bad, fmt.Sprintf("%s: %s went from %.0f to %.0f", g.GPU, f, was, last))
			}
		}
	}
	switch {
	case len(bad) > 0:
		return disturbed(Fail, "%s", strings.Join(bad, "; "))
	case !looked:
		return outcome(NotChecked, "no samples of %s", XID)
	}
	return outcome(Pass, "no XID, no ECC error, no row remapped")
}

// energyDiffers is by how much two accounts of energy may differ (the limit
// that InferenceX's aggregate_power.py has).
const energyDiffers = 0.05

func checkEnergy(e *evidence) Check {
	worst, text := 0.0, ""
	for i := range e.gpus {
		g := &e.gpus[i]
		counter, integral, ok := g.joules()
		if !ok || counter <= 0 {
			continue
		}
		if d := math.Abs(integral-counter) / counter; text == "" || d > worst {
			worst, text = d, fmt.Sprintf("%s: power integrates to %.4g J, the counter says %.4g J (%.1f %% apart)", g.GPU, integral, counter, 100*d)
		}
	}
	switch {
	case text == "":
		return outcome(NotChecked, "no samples of %s and %s", Power, Energy)
	case worst > energyDiffers:
		return outcome(Warn, "%s", text)
	}
	return outcome(Pass, "%s", text)
}

// joules are the energy of one GPU between its first and last kept collection:
// by its counter, and by its power. Power is what is drawn while it is read,
// so that it is summed by the trapezoid rule.
func (g *gpuEvidence) joules() (counter, integral float64, ok bool) {
	from, to, start, end, ok := g.ends(Energy)
	if !ok {
		return 0, 0, false
	}
	last, n := collection{}, 0
	for _, c := range g.kept {
		p, has := c.values[Power]
		if !has || c.at < start || c.at > end {
			continue
		}
		if n > 0 {
			integral += (p + last.values[Power]) / 2 * float64(c.at-last.at) / 1e3
		}
		last, n = c, n+1
	}
	return (to - from) / 1e3, integral, n >= Few
}

// unlike is how far memory activity may differ between GPUs.
const unlike = 0.10

func checkBalance(e *evidence) Check {
	if len(e.gpus) < 2 {
		return outcome(NotChecked, "the cell has one GPU")
	}
	low, high, ok := e.extremes(DRAM)
	if !ok {
		return outcome(NotChecked, "no samples of %s", DRAM)
	}
	mean, _ := e.mean(DRAM)
	apart := 0.0
	if mean > 0 {
		apart = (high.v - low.v) / mean
	}
	text := fmt.Sprintf("memory active from %.3f on %s to %.3f on %s (%.1f %% of the mean apart)", low.v, low.GPU, high.v, high.GPU, 100*apart)
	if apart > unlike {
		return outcome(Warn, "%s: a straggler holds up the others", text)
	}
	return outcome(Pass, "%s", text)
}

// seconds prints an interval.
func seconds(s float64) string {
	switch {
	case math.IsNaN(s):
		return "unknown length"
	case s < 1:
		return fmt.Sprintf("%.0f ms", 1000*s)
	}
	return fmt.Sprintf("%.4g s", s)
}
