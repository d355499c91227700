package roofline

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// An Analysis sets a measured cell beside what the model must compute and move.
// All of it is arithmetic over the shape of the model (package sol) and the
// measured rates; nothing is read from GPU counters.
type Analysis struct {
	BEff    float64 `json:"b_eff,omitempty"`   // decode: effective batch, output tok/s × TPOT
	Context float64 `json:"context,omitempty"` // decode: mean context over the steps

	// TFLOPsPerGPU is tok/s/GPU × FLOPs/token for decode, and FLOPs of a
	// prompt × prompts/s / GPUs for prefill.
	TFLOPsPerGPU  float64  `json:"model_tflops_per_gpu"`
	AI            float64  `json:"ai_flop_per_byte"` // of a decode step at BEff; of one prompt alone
	HBMPctPred    float64  `json:"hbm_pct_pred"`     // bytes that must move a second, of the nominal bandwidth
	FootprintGB   float64  `json:"footprint_gb_per_token,omitempty"`
	MFU           *float64 `json:"mfu,omitempty"` // TFLOPsPerGPU of the dense peak; nil without a peak
	PrefillTPS    float64  `json:"prefill_tps_per_gpu,omitempty"`
	RateBasis     string   `json:"rate_basis"` // what the rate was taken from
	Bound         string   `json:"bound"`      // memory, compute or communication, at best
	GPUs          int      `json:"gpus"`
	FloorMS       float64  `json:"floor_ms"` // of TPOT, or of TTFT
	MeasuredMS    float64  `json:"measured_ms"`
	MeasuredOver  string   `json:"measured_over"` // steady or full
	MathDType     string   `json:"math_dtype,omitempty"`
	BandwidthPath string   `json:"bandwidth_path"`
}

// Analyse works out the analysis of a measurement. The error says why there is
// none; the measurement stands without it.
func Analyse(kind string, m *perf.Measurement, d *sol.Deployment) (*Analysis, error) {
	s, over := &m.Summary, "full"
	if m.Steady != nil && m.Steady.OutputThroughput != nil {
		s, over = m.Steady, "steady"
	}
	a := &Analysis{GPUs: d.TotalGPUs(), MeasuredOver: over, MathDType: d.MathDType()}
	a.BandwidthPath, _ = d.CeilingPaths()
	input, output := float64(m.Asked.ISL), float64(m.Asked.OSL)
	if s.ISL != nil && s.ISL.Mean > 0 {
		input = s.ISL.Mean
	}
	if s.OSL != nil && s.OSL.Mean > 0 {
		output = s.OSL.Mean
	}
	load := sol.Load{Batch: 1, Input: input, Output: output, Cached: cached(m, s)}
	load.Drafted, load.Accepted = speculation(m.Setting)
	if kind == Decode {
		return a, a.decode(s, d, load)
	}
	return a, a.prefill(m, s, d, load)
}

// cached is the share of the input that the server found in its prefix cache.
func cached(m *perf.Measurement, s *perf.Summary) float64 {
	rate := s.PrefixHitRate
	if m.Server != nil && m.Server.PrefixHitRate != nil {
		rate = m.Server.PrefixHitRate
	}
	if rate == nil {
		return 0
	}
	return min(1, max(0, *rate))
}

// speculation reads what a setting says of speculative decoding; 0 without it,
// or if its acceptance is not known.
func speculation(s perf.Setting) (drafted int, accepted float64) {
	n, errN := strconv.Atoi(s["spec_tokens"])
	a, errA := strconv.ParseFloat(s["acceptance_length"], 64)
	if errN != nil || errA != nil || n < 1 || a < 1 {
		return 0, 0
	}
	return n, a
}

func (a *Analysis) decode(s *perf.Summary, d *sol.Deployment, load sol.Load) error {
	switch {
	case s.OutputThroughput == nil || *s.OutputThroughput <= 0:
		return errors.New("no output throughput was measured")
	case s.TPOT == nil || !(s.TPOT.Mean > 0 || s.TPOT.P50 > 0):
		return errors.New("no TPOT was measured")
	}
	rate, tpot := *s.OutputThroughput, s.TPOT.Mean/1000
	a.RateBasis = "output tok/s over " + a.MeasuredOver
	if !(tpot > 0) { // a tool that tells no mean
		tpot = s.TPOT.P50 / 1000
		a.RateBasis += "; the median TPOT stands for the mean, which is not told"
	}
	a.BEff = rate * tpot
	load.Batch = a.BEff
	f, err := d.Floors(load)
	if err != nil {
		return err
	}
	gpus := float64(a.GPUs)
	a.Context, a.AI, a.Bound, a.FootprintGB = f.Context, f.AI, f.Bound(), f.Footprint/1e9
	a.TFLOPsPerGPU = rate / gpus * d.FLOPsPerToken(f.Context) / 1e12
	a.HBMPctPred = 100 * f.Footprint * rate / gpus / d.GPU.Bandwidth
	a.FloorMS, a.MeasuredMS = 1000*f.TPOT, 1000*tpot
	a.setMFU(d)
	return nil
}

// prefill takes the rate from the median TTFT where one request runs at a time,
// and from the requests answered a second where several share the GPUs.
func (a *Analysis) prefill(m *perf.Measurement, s *perf.Summary, d *sol.Deployment, load sol.Load) error {
	if s.TTFT == nil || !(s.TTFT.P50 > 0) {
		return errors.New("no TTFT was measured")
	}
	rate := 1000 / s.TTFT.P50
	a.RateBasis = "1 / median TTFT over " + a.MeasuredOver
	if m.Asked.Concurrency > 1 {
		if s.RequestThroughput == nil || *s.RequestThroughput <= 0 {
			return errors.New("no request throughput was measured")
		}
		rate, a.RateBasis = *s.RequestThroughput, "requests/s over "+a.MeasuredOver
	}
	f, err := d.Floors(load)
	if err != nil {
		return err
	}
	gpus := float64(a.GPUs)
	computed := load.Input * (1 - load.Cached)
	a.PrefillTPS = computed * rate / gpus
	a.AI, a.Bound = f.Prompt.FLOPs/f.Prompt.Bytes, f.Prompt.Bound()
	a.TFLOPsPerGPU = f.Prompt.FLOPs * rate / gpus / 1e12
	a.HBMPctPred = 100 * f.Prompt.Bytes * rate / gpus / d.GPU.Bandwidth
	a.FloorMS, a.MeasuredMS = 1000*f.TTFT, s.TTFT.P50
	a.setMFU(d)
	return nil
}

func (a *Analysis) setMFU(d *sol.Deployment) {
	if d.PeakUnknown() != nil {
		return
	}
	peak, _, err := d.GPU.Peak(d.MathDType())
	if err != nil || peak <= 0 {
		return
	}
	mfu := a.TFLOPsPerGPU * 1e12 / peak
	a.MFU = &mfu
}

// check refuses numbers that no GPU can reach: the batch, the shape or the
// ceiling is another one than was served.
func (a *Analysis) check() []string {
	var doubts []string
	if a.FloorMS > a.MeasuredMS*1.0005 {
		doubts = append(doubts, fmt.Sprintf("SOL_OVER: %.4g ms measured are below the floor of %.4g ms at an effective batch of %.4g: the footprint, the quant map or the batch is wrong", a.MeasuredMS, a.FloorMS, a.BEff))
	}
	if a.MFU != nil && *a.MFU > 1.0005 {
		doubts = append(doubts, fmt.Sprintf("SOL_OVER: %.4g TFLOP/s/GPU of the model are %.4g %% of the dense peak: the shape, the quant map, the cached share or the rate is wrong", a.TFLOPsPerGPU, 100**a.MFU))
	}
	if a.HBMPctPred > 100.05 {
		doubts = append(doubts, fmt.Sprintf("SOL_OVER: the bytes that the model must move are %.4g %% of the nominal bandwidth: the footprint, the quant map or the rate is wrong", a.HBMPctPred))
	}
	if math.IsInf(a.AI, 0) || math.IsNaN(a.AI) {
		doubts = append(doubts, "roof_ai: the arithmetic intensity is no number")
	}
	return doubts
}
