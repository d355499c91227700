package vllmsim

import (
	"fmt"
	"strings"
	"time"
)

// Faults are what can be made to go wrong. The zero value is a healthy server.
// POST /sim/faults with this struct as JSON replaces them at run time; GET
// shows them. Durations are strings such as "1.5s" in flags and nanoseconds
// in JSON.
type Faults struct {
	// ErrorRate is the share of generation requests answered with ErrorStatus
	// (0: 500) before they reach the engine.
	ErrorRate   float64 `json:"error_rate"`
	ErrorStatus int     `json:"error_status"`
	// StallRate is the share of streams that pause for Stall after StallAfter tokens.
	StallRate  float64       `json:"stall_rate"`
	StallAfter int           `json:"stall_after"`
	Stall      time.Duration `json:"stall_ns"`
	// ResetRate is the share of streams cut by a TCP reset after ResetAfter tokens.
	ResetRate  float64 `json:"reset_rate"`
	ResetAfter int     `json:"reset_after"`
	// SlowStart is how long after the start /health already answers while
	// /v1/models lists no model and requests get 404.
	SlowStart time.Duration `json:"slow_start_ns"`
	// CoalesceTokens puts that many tokens into one SSE event; 0 and 1: one.
	CoalesceTokens int `json:"coalesce_tokens"`
	// RoleEarly sends the role delta of a chat stream at once instead of with
	// the first token, which fools a TTFT that counts any event.
	RoleEarly bool `json:"role_early"`
	// NoUsage drops usage, NoTokenize and NoMetrics answer 404: what other
	// servers of this API lack.
	NoUsage    bool `json:"no_usage"`
	NoTokenize bool `json:"no_tokenize"`
	NoMetrics  bool `json:"no_metrics"`
	// NoServerInfo answers 404, as vLLM does outside of development mode.
	NoServerInfo bool `json:"no_server_info"`
	// CrashAfter kills the engine when that many generation requests have
	// come since the faults were set; 0: never. Crash kills it now.
	CrashAfter int  `json:"crash_after"`
	Crash      bool `json:"crash"`
	// DCGM is a list of what is wrong with the exporter of GPU counters,
	// separated by commas.
	DCGM string `json:"dcgm"`
}

func (f *Faults) flags() []Flag {
	return []Flag{
		newFlag("fault-error-rate", "share of requests answered with an error", &f.ErrorRate),
		newFlag("fault-error-status", "status of those errors; 0: 500", &f.ErrorStatus),
		newFlag("fault-stall-rate", "share of streams that pause", &f.StallRate),
		newFlag("fault-stall-after", "tokens before the pause", &f.StallAfter),
		newFlag("fault-stall", "length of the pause", &f.Stall),
		newFlag("fault-reset-rate", "share of streams cut by a TCP reset", &f.ResetRate),
		newFlag("fault-reset-after", "tokens before the reset", &f.ResetAfter),
		newFlag("fault-slow-start", "time before the model is registered", &f.SlowStart),
		newFlag("fault-coalesce-tokens", "tokens of one SSE event", &f.CoalesceTokens),
		newFlag("fault-role-early", "send the role delta before the first token", &f.RoleEarly),
		newFlag("fault-no-usage", "never send usage", &f.NoUsage),
		newFlag("fault-no-tokenize", "no /tokenize and /detokenize", &f.NoTokenize),
		newFlag("fault-no-metrics", "no /metrics", &f.NoMetrics),
		newFlag("fault-no-server-info", "no /server_info, as vLLM outside of development mode", &f.NoServerInfo),
		newFlag("fault-crash-after", "requests after which the engine dies; 0: never", &f.CrashAfter),
		newFlag("fault-dcgm", "what is wrong with the GPU counters, some of: "+strings.Join(dcgmFaultNames, ", "), &f.DCGM),
	}
}

func (f *Faults) check() error {
	for _, r := range []struct {
		name string
		rate float64
	}{{"error_rate", f.ErrorRate}, {"stall_rate", f.StallRate}, {"reset_rate", f.ResetRate}} {
		if !(r.rate >= 0 && r.rate <= 1) {
			return fmt.Errorf("faults: %s is %v, not between 0 and 1", r.name, r.rate)
		}
	}
	if f.ErrorStatus != 0 && (f.ErrorStatus < 400 || f.ErrorStatus > 599) {
		return fmt.Errorf("faults: error_status is %d, not between 400 and 599", f.ErrorStatus)
	}
	if f.StallAfter < 0 || f.ResetAfter < 0 || f.CoalesceTokens < 0 || f.CrashAfter < 0 || f.Stall < 0 || f.SlowStart < 0 {
		return fmt.Errorf("faults: no count and no duration may be negative")
	}
	return parseDCGMFaults(f.DCGM).check()
}

// The draws of one request, one for each kind of fault.
type drawnFaults struct{ fail, stall, reset bool }

// draw decides the faults of the request with that number. The same seed and
// number always give the same answer, and a higher rate only adds to it.
func (f *Faults) draw(seed int64, request uint64) drawnFaults {
	u := func(kind uint64) float64 {
		return float64(mix(mix(uint64(seed)+kind)+request)>>11) / (1 << 53)
	}
	return drawnFaults{fail: u(1) < f.ErrorRate, stall: u(2) < f.StallRate, reset: u(3) < f.ResetRate}
}

// mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
