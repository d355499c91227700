package perf

import (
	"fmt"
	"regexp"
	"strings"

	"pipeline/internal/stat"
)

var verdictColumns = []Column{
	{"steady_class", Varchar, GroupTime, "", "Output throughput through the steady window: flat, drift, slowdown, none (up and down), or short (too short to tell).", false, false},
	{"outlier", Varchar, GroupTrials, "", "How the trial stands apart from its repetitions, and the physical cause if one is recorded.", false, false},
	{"excluded", Boolean, GroupTrials, "", "An outlier with a recorded physical cause: not in the mean.", false, false},
	{"verdict_refusals", JSON, GroupProvenance, "", "Why the cell is no verdict: [{code, text, do}]. Empty for a verdict, NULL if it was not reviewed.", false, false},
}

// Bits of throttle_mask that say that a GPU ran slower than it could: hardware
// slowdown, thermal (software and hardware), and power brake. The power cap
// (0x4) is where a busy GPU usually is, and no fault.
const throttled = 0x8 | 0x20 | 0x40 | 0x80

// disturbed matches doubts that mean that another load was at work.
var disturbed = regexp.MustCompile(`^(foreign_traffic|counts_differ): `)

// physicalCause returns what disturbed a trial, as its own record tells: the
// checks on DCGM samples that bar a verdict (load from elsewhere before or
// beside the run, throttling, XIDs and memory errors), the clocks, and foreign
// load. It is "" if nothing is recorded.
func physicalCause(r Row) string {
	var causes []string
	if mask, ok := r.Int("throttle_mask"); ok && mask&throttled != 0 {
		causes = append(causes, fmt.Sprintf("throttled (reasons %#x)", mask))
	}
	dcgm, _ := r.Extra()["dcgm"].(map[string]any)
	bars, _ := dcgm["no_verdict"].([]any)
	for _, text := range bars {
		causes = append(causes, fmt.Sprint(text))
	}
	for _, d := range r.List("doubts") {
		if disturbed.MatchString(d) {
			causes = append(causes, d)
		}
	}
	return strings.Join(unique(causes), "; ")
}

// FlagOutliers marks, among the trial rows of each cell and setting, those that
// stand apart from their repetitions (see stat.Outliers), and says so in their
// doubts. One is excluded from the mean only if a physical cause is recorded;
// otherwise the variation is what was measured, and stands.
func FlagOutliers(trials []Row) {
	for _, c := range Cells(trials) {
		for _, m := range LevelMetrics() {
			s, ok := c.Sample(m)
			if !ok {
				continue
			}
			median := stat.Median(s.values)
			for i, apart := range stat.Outliers(s.values) {
				if apart {
					flagOutlier(c.Trials[i], fmt.Sprintf("%s %.4g is %+.1f%% from the median %.4g of %d trials",
						m.Name, s.values[i], 100*(s.values[i]/median-1), median, s.N()))
				}
			}
		}
	}
}

func flagOutlier(r Row, how string) {
	if was := r.Text("outlier"); was != "" {
		first, _, _ := strings.Cut(was, "; ")
		how = first + ", " + how
		r.SetList("doubts", without(r.List("doubts"), "outlier: "+was))
	}
	if cause := physicalCause(r); cause != "" {
		how += "; excluded: " + cause
		r.SetBool("excluded", true)
	} else {
		how += "; no physical cause is recorded, so it counts"
	}
	r.SetText("outlier", how)
	r.addDoubt("outlier: " + how)
}

func without(list []string, drop string) []string {
	out := []string{}
	for _, s := range list {
		if s != drop {
			out = append(out, s)
		}
	}
	return out
}
