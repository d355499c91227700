package foreign

import (
	"fmt"
	"math"

	"pipeline/internal/pyjson"
	"pipeline/lake/perf"
)

// A Quantity says how a format gives one of our numbers.
type Quantity struct {
	Column string  // ours: ttft_ms, or a column of its own
	Field  string  // theirs, from the top of what describes a run
	Unit   string  // theirs
	Factor float64 // from theirs to ours
	Note   string  // what is different about theirs; "" if nothing
	Doubt  bool    // the note can't be mended: it travels with the number
}

// doubt returns the doubt of a quantity that was found.
func (q Quantity) doubt() string {
	columns := q.Column
	if isDist(q.Column) {
		columns += "_*"
	}
	return fmt.Sprintf("definition: %s: %s", columns, q.Note)
}

// distOf returns where a summary keeps the distribution of a column, nil if it is none.
func distOf(s *perf.Summary, column string) **perf.Dist {
	switch column {
	case "ttft_ms":
		return &s.TTFT
	case "tpot_ms":
		return &s.TPOT
	case "itl_ms":
		return &s.ITL
	case "e2el_ms":
		return &s.E2E
	case "input_tokens":
		return &s.ISL
	case "output_tokens":
		return &s.OSL
	}
	return nil
}

func isDist(column string) bool { return distOf(new(perf.Summary), column) != nil }

// rateOf returns where a summary keeps a rate.
func rateOf(s *perf.Summary, column string) **float64 {
	switch column {
	case "request_throughput_rps":
		return &s.RequestThroughput
	case "output_tps":
		return &s.OutputThroughput
	case "total_tps":
		return &s.TotalThroughput
	case "goodput_rps":
		return &s.Goodput
	}
	return nil
}

// Stats are the names that a format has for what a perf.Dist tells.
type stats struct {
	mean, std, min, max string
	p50, p90, p95, p99  string
	percentiles         string // the object that holds those, "" if they stand beside the mean
	populationStd       bool   // the deviation is of n, ours is of n-1
	count               string // how many values it is of, "" if they are the requests
}

// dist reads a distribution of n values, nil if there is none.
func (s stats) dist(o pyjson.Object, n int, factor float64) *perf.Dist {
	if o.IsZero() {
		return nil
	}
	d, told := perf.UntoldDist(n), false
	take := func(from pyjson.Object, name string, to *float64) {
		if name == "" {
			return
		}
		if v := from.Float(name); v != nil {
			*to, told = *v*factor, true
		}
	}
	take(o, s.mean, &d.Mean)
	take(o, s.std, &d.Std)
	take(o, s.min, &d.Min)
	take(o, s.max, &d.Max)
	ranks := o
	if s.percentiles != "" {
		ranks = o.Object(s.percentiles)
	}
	take(ranks, s.p50, &d.P50)
	take(ranks, s.p90, &d.P90)
	take(ranks, s.p95, &d.P95)
	take(ranks, s.p99, &d.P99)
	if s.populationStd {
		of := n
		if v := o.Float(s.count); s.count != "" && v != nil && *v >= 0 && *v < math.MaxInt32 {
			of = int(*v)
		}
		d.Std = perf.SampleStd(d.Std, of)
	}
	if !told {
		return nil
	}
	return d
}

// fill reads the quantities of a run from o, n of whose requests were answered,
// into r.
func fill(r *perf.Report, o pyjson.Object, table []Quantity, names stats, n int) {
	for _, q := range table {
		found := false
		path := split(q.Field)
		if to := distOf(&r.Summary, q.Column); to != nil && *to == nil {
			*to = names.dist(o.Object(path...), n, q.Factor)
			found = *to != nil
		}
		if to := rateOf(&r.Summary, q.Column); to != nil && *to == nil {
			if v := o.Object(path[:len(path)-1]...).Float(path[len(path)-1]); v != nil {
				x := *v * q.Factor
				*to, found = &x, true
			}
		}
		if found && q.Doubt {
			r.Doubts = append(r.Doubts, q.doubt())
		}
	}
}
