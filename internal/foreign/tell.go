package foreign

import (
	"strconv"
	"strings"
	"time"

	"pipeline/lake/perf"
)

func split(field string) []string { return strings.Split(field, ".") }

// tell writes a field of a Setting that a report tells; "" is nothing told.
func tell(r *perf.Report, column, value string) {
	if value != "" {
		r.Told[column] = value
	}
}

// tellCount writes a count to a Setting and to the workload.
func tellCount(r *perf.Report, column string, v int, to *int) {
	r.Told[column] = strconv.Itoa(v)
	if to != nil {
		*to = v
	}
}

// tellModel writes the model: a name on the hub, or another.
func tellModel(r *perf.Report, name string) {
	if perf.IsRepository(name) {
		tell(r, "model_hf_path", name)
	} else {
		tell(r, "model", name)
	}
}

func tellRate(r *perf.Report, rate float64) {
	r.Asked.RequestRate = rate
	tell(r, "request_rate", strconv.FormatFloat(rate, 'g', -1, 64))
}

func tellConcurrency(r *perf.Report, n int) {
	tellCount(r, "concurrency", n, &r.Asked.Concurrency)
	tellArrival(r, perf.Closed)
}

func tellArrival(r *perf.Report, arrival string) {
	r.Asked.Arrival = arrival
	tell(r, "arrival", arrival)
}

// instant returns a time in seconds since 1970, zero if it is none.
func instant(seconds *float64) time.Time {
	if seconds == nil || !(*seconds > 0 && *seconds < 1e11) {
		return time.Time{}
	}
	return time.Unix(0, int64(*seconds*1e6)*1000).UTC()
}

// total returns a sum as a count, Untold if there is none.
func total(v *float64) float64 {
	if v == nil || !(*v >= 0 && *v < 1<<53) {
		return perf.Untold
	}
	return *v
}
