package sol

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// The refusals of a ceilings file, by the name that their text begins with:
//
//	CEIL_UNKNOWN         a hardware word or a path that the file has not
//	CEIL_NULL            a null that no conflict explains, or whose value is needed
//	CEIL_INLINE          a peak that is written where only a key may stand
//	CEIL_SUSPECT_SPARSE  a ratio between number formats that dense units do not have
//	CEIL_AVERAGED        a figure that is none of the values its conflict lists
//	CEIL_CLOCK           a clocked bandwidth that bus width and clock do not give
//	CEIL_UNSOURCED       an entry, a conflict or a reached rate without a source
//	CEIL_AMBIGUOUS       a token or alias of two keys
//	CEIL_RANGE           a figure that is not above zero

// check refuses figures of a key that cannot be right.
func (c *Ceilings) check(key string, s gpuSpec) error {
	for _, check := range []func(string, gpuSpec) error{c.checkValues, c.checkSources, c.checkNulls, c.checkConflicts, c.checkDense, c.checkClock} {
		if err := check(key, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Ceilings) checkValues(key string, _ gpuSpec) error {
	for _, path := range slices.Sorted(maps.Keys(c.figures)) {
		if v := c.figures[path]; v != nil && strings.HasPrefix(path, key+".") && !(*v > 0) {
			return fmt.Errorf("CEIL_RANGE: %s is %v, and a ceiling is above zero", path, *v)
		}
	}
	return nil
}

func (c *Ceilings) checkSources(key string, s gpuSpec) error {
	if len(s.Tokens) == 0 {
		return fmt.Errorf("CEIL_UNSOURCED: %s lists no hardware token, so nothing could ever mean it", key)
	}
	if len(s.Sources) == 0 {
		return fmt.Errorf("CEIL_UNSOURCED: %s lists no sources", key)
	}
	for _, a := range s.Achievable {
		if a.Metric == "" || a.Tool == "" || a.Source == "" || !(a.Value > 0) {
			return fmt.Errorf("CEIL_UNSOURCED: %s.achievable: a rate that was reached needs metric, value, tool and source, got %+v", key, a)
		}
	}
	return nil
}

func (c *Ceilings) checkNulls(key string, s gpuSpec) error {
	for section, figures := range map[string]map[string]*float64{"dense_tflops": s.DenseTFLOPS, "dense_tops": s.DenseTOPS} {
		for _, dtype := range slices.Sorted(maps.Keys(figures)) {
			path := key + "." + section + "." + dtype
			if _, explained := c.notes[path]; figures[dtype] == nil && !explained {
				return fmt.Errorf("CEIL_NULL: %s is null and no conflict says why; leave out what the GPU does not have", path)
			}
		}
	}
	return nil
}

// checkConflicts holds every figure in dispute to one of the values that its
// sources give: a mean of sources is no source.
func (c *Ceilings) checkConflicts(key string, s gpuSpec) error {
	for _, conflict := range s.Conflicts {
		path := key + "." + conflict.Field
		if len(conflict.Values) == 0 || conflict.Note == "" {
			return fmt.Errorf("CEIL_UNSOURCED: the conflict of %s needs the values and a note of who gives them", path)
		}
		if v := c.figures[path]; v != nil && !slices.Contains(conflict.Values, *v) {
			return fmt.Errorf("CEIL_AVERAGED: %s is %v, which is none of the values in conflict %v; choose one or write null", path, *v, conflict.Values)
		}
	}
	return nil
}

// checkDense finds sparse figures among dense ones: halving the width of a
// number doubles a dense rate, and Blackwell Ultra's fp4 alone has up to three
// times its fp8.
func (c *Ceilings) checkDense(key string, s gpuSpec) error {
	low, high := 1.95, 2.05
	if s.ComputeCapability == "10.3" {
		low, high = 2.75, 3.05
	}
	for _, r := range []struct {
		over, under string
		low, high   float64
	}{
		{"dense_tflops.fp16", "dense_tflops.bf16", 0.99, 1.01},
		{"dense_tflops.fp8", "dense_tflops.bf16", 1.95, 2.05},
		{"dense_tops.int8", "dense_tflops.bf16", 1.95, 2.05},
		{"dense_tflops.fp4", "dense_tflops.fp8", low, high},
	} {
		a, b := c.figures[key+"."+r.over], c.figures[key+"."+r.under]
		if a == nil || b == nil {
			continue
		}
		if ratio := *a / *b; ratio < r.low || ratio > r.high {
			return fmt.Errorf("CEIL_SUSPECT_SPARSE: %s.%s is %.2f times %s.%s, and dense units give %.2f to %.2f; a data sheet may have printed the figure with 2:4 sparsity",
				key, r.over, ratio, key, r.under, r.low, r.high)
		}
	}
	return nil
}

// checkClock holds the clocked bandwidth to bus width times clock, on both
// edges.
func (c *Ceilings) checkClock(key string, s gpuSpec) error {
	have := 0
	for _, v := range []*float64{s.MemBusBits, s.MemClockMHz, s.Clocked} {
		if v != nil {
			have++
		}
	}
	if have == 0 {
		return nil
	}
	if have < 3 {
		return fmt.Errorf("CEIL_CLOCK: %s: mem_bus_bits, mem_clock_mhz and hbm_tbps_clocked stand together or not at all", key)
	}
	want := *s.MemBusBits / 8 * *s.MemClockMHz * 1e6 * 2 / tera
	if math.Abs(*s.Clocked/want-1) > 0.005 {
		return fmt.Errorf("CEIL_CLOCK: %s.hbm_tbps_clocked is %v, and %v bits at %v MHz give %.3f", key, *s.Clocked, *s.MemBusBits, *s.MemClockMHz, want)
	}
	return nil
}

// checkAgainst finds figures of a file of one's own that are twice those of c
// for the same hardware: all its formats with sparsity keep their ratios.
func (c *Ceilings) checkAgainst(own *Ceilings, gpu GPU) error {
	for _, token := range gpu.Tokens {
		known, ok := c.words[token]
		if !ok {
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(own.figures)) {
			name, isFigure := strings.CutPrefix(path, gpu.Key+".dense_")
			mine, theirs := own.figures[path], c.figures[known+".dense_"+name]
			if !isFigure || mine == nil || theirs == nil {
				continue
			}
			if ratio := *mine / *theirs; ratio > 1.9 && ratio < 2.1 {
				return fmt.Errorf("CEIL_SUSPECT_SPARSE: %s is %.2f times %s.dense_%s of %s for the same hardware %s; ceilings are dense", path, ratio, known, name, c.file, token)
			}
		}
	}
	return nil
}

func (c *Ceilings) addWords(gpu GPU) error {
	for _, word := range slices.Concat([]string{gpu.Key}, gpu.Tokens, gpu.Aliases) {
		if other, taken := c.words[word]; taken && other != gpu.Key {
			return fmt.Errorf("CEIL_AMBIGUOUS: %q means %s and %s", word, other, gpu.Key)
		}
		c.words[word] = gpu.Key
	}
	return nil
}

// peakNames are the figures that only a ceilings file may give.
var peakNames = []string{
	"hbm2e_tbps", "hbm3_tbps", "hbm3e_tbps", "gddr6_tbps", "gddr7_tbps", "hbm_tbps", "hbm_tbps_clocked", "mem_bw_tbps",
	"dense_tflops", "dense_tops", "bf16_tflops", "fp16_tflops", "fp8_tflops", "fp4_tflops", "int8_tops", "peak_tflops", "peak_tbps",
	"nvlink_gbps_dir", "xgmi_gbps_dir", "pcie_gbps_dir",
}

// MayInline reports whether a text has the name of a peak in it, in whatever
// place: the cheap question before RefuseInline.
func MayInline(text []byte) bool {
	return slices.ContainsFunc(peakNames, func(name string) bool { return bytes.Contains(text, []byte(name)) })
}

// RefuseInline returns CEIL_INLINE if the name is that of a peak: where says
// what sets it. A last part behind a dot counts, as in declare.hbm_tbps.
func RefuseInline(where, name, value string) error {
	for part := range strings.SplitSeq(name, ".") {
		if slices.Contains(peakNames, part) {
			return fmt.Errorf("CEIL_INLINE: %s sets %s=%s inline; peaks come only from %s by key path, or from a file of the same form", where, name, value, builtinFile)
		}
	}
	return nil
}
