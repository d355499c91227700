package dcgm

import (
	"fmt"
	"math"
	"slices"
)

// Limits of DC07: measured traffic over the least that the model must move.
const (
	trafficLow  = 0.9
	trafficHigh = 3.0
)

// CheckPhysics is DC07: whether the traffic that was measured is one that the
// model can have caused. dram is the mean of field 1005 over the cell's GPUs,
// bandwidth the bytes/s of one GPU at its memory's clock; the model moves
// footprint bytes over all GPUs for an output token.
func CheckPhysics(dram, bandwidth, footprintBytes, outputTPS float64, gpus int) Check {
	least := footprintBytes * outputTPS / float64(gpus)
	measured := dram * bandwidth
	c := Check{Code: "DC07", Title: "traffic against the model's minimum"}
	text := fmt.Sprintf("measured %.0f GB/s a GPU, the model's minimum is %.0f GB/s (%.2f GB a token × %.0f tok/s ÷ %d GPUs)", measured/1e9, least/1e9, footprintBytes/1e9, outputTPS, gpus)
	switch {
	case !(least > 0) || math.IsInf(least, 0) || math.IsNaN(measured):
		c.Status, c.Text = NotChecked, "the bytes that the model must move are not known"
	case measured < trafficLow*least:
		c.Status, c.Text = Fail, text+": measured traffic is below the model's minimum: wrong GPUs, wrong batch, or wrong quant map"
	case measured > trafficHigh*least:
		c.Status, c.Text = Warn, text+": more than three times that: prefill, a co-tenant, or traffic that is not modelled"
	default:
		c.Status, c.Text = Pass, text
	}
	return c
}

// Settle puts an outcome in the place of the check of its code. A failure
// takes the report's rigor away.
func (r *Report) Settle(c Check) {
	if i := slices.IndexFunc(r.Checks, func(o Check) bool { return o.Code == c.Code }); i >= 0 {
		r.Checks[i] = c
	}
	if c.Status != Fail {
		return
	}
	why := c.Code + ": " + c.Text
	if r.Rigor == RigorL3 {
		r.Quality, r.Rigor, r.Gap = QualityFailed, RigorNone, why
		return
	}
	r.Gap += "; " + why
}
