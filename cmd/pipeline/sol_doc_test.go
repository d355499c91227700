package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"pipeline/configs"
	"pipeline/internal/sol"
)

// TestSoLDoc keeps the tables of docs/sol.md what the code says, and its
// caveats those that are printed with every share.
func TestSoLDoc(t *testing.T) {
	const file = "../../docs/sol.md"
	goldenPart(t, file, "ceilings", ceilingsTable(t))
	goldenPart(t, file, "models", modelsTable(t))
	goldenPart(t, file, "footprint", footprintTable(t))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range sol.Caveats() {
		if !strings.Contains(string(text), "- "+c+"\n") {
			t.Errorf("docs/sol.md does not say: %s", c)
		}
	}
}

func ceilingsTable(t *testing.T) string {
	c, err := sol.BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| key | token | bandwidth, TB/s | clocked | bf16 | fp8 | fp4, TFLOP/s | memory, GB | reached, TB/s |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, key := range c.Keys() {
		g, err := c.GPU(key)
		if err != nil {
			t.Fatal(err)
		}
		look := func(path string) string {
			v, err := c.Lookup(key + path)
			switch {
			case err == nil:
				return fmt.Sprint(v)
			case strings.HasPrefix(err.Error(), "CEIL_NULL"):
				return "conflict"
			}
			return "–"
		}
		reached := "–"
		if best, ok := g.Reached("hbm_tbps"); ok {
			reached = fmt.Sprint(best.Value)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %g (`%s`) | %s | %s | %s | %s | %s | %s |\n", key, g.Tokens[0], g.Bandwidth/1e12, strings.TrimPrefix(g.BandwidthPath, key+"."),
			look(".hbm_tbps_clocked"), look(".dense_tflops.bf16"), look(".dense_tflops.fp8"), look(".dense_tflops.fp4"), look(".mem_gb"), reached)
	}
	return b.String()
}

func modelsTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n| model | parameters | a token uses | weights, GB | a step reads always, GB | experts, GB | KV, B a token, bf16 / fp8 |\n|---|---|---|---|---|---|---|\n")
	for _, name := range configs.Models() {
		s, err := sol.BuiltinShape(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %.4f | %.4f | %.4f | %s / %s |\n", name, thousands(float64(s.TotalParams())), thousands(s.ActiveParams()),
			s.WeightBytes()/1e9, s.FixedBytes()/1e9, s.RoutedBytes()/1e9, thousands(s.KVBytesPerToken(sol.KVBF16)), thousands(s.KVBytesPerToken(sol.KVFP8)))
	}
	return b.String()
}

// reference are the footprints of the public study of this example, as it
// rounds them: GB a token of GLM-5.1 in NVFP4, TP8, 4096/512, by batch.
var reference = map[float64]float64{1: 50.20, 2: 31.82, 4: 22.34, 8: 17.07, 16: 13.52, 32: 10.36, 48: 8.50, 64: 7.20, 128: 4.51, 256: 2.83, 512: 1.96}

func footprintTable(t *testing.T) string {
	c, err := sol.BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	shape, err := sol.BuiltinShape("glm-5.1-nvfp4")
	if err != nil {
		t.Fatal(err)
	}
	gpu, err := c.GPU("b200_sm100")
	if err != nil {
		t.Fatal(err)
	}
	d, err := sol.Deploy(shape, gpu, 8, sol.KVFP8)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| batch | GB a token | TPOT floor, ms | decode ceiling, tok/s/GPU | with prefill |\n|---|---|---|---|---|\n")
	for _, batch := range []float64{1, 2, 4, 8, 16, 32, 48, 64, 67, 128, 256, 512} {
		f, err := d.Floors(sol.Load{Batch: batch, Input: 4096, Output: 512})
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := reference[batch]; ok && math.Abs(f.Footprint/1e9-want) > 0.005 {
			t.Errorf("at batch %g a token moves %.3f GB, want %.2f", batch, f.Footprint/1e9, want)
		}
		fmt.Fprintf(&b, "| %g | %.2f | %.3f | %s | %s |\n", batch, f.Footprint/1e9, f.TPOT*1e3, thousands(f.Decode), thousands(f.Serving))
	}
	checkProse(t, d)
	return b.String()
}

// checkProse compares the numbers of the worked example with the code.
func checkProse(t *testing.T, d *sol.Deployment) {
	f, err := d.Floors(sol.Load{Batch: 64, Input: 4096, Output: 512})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/sol.md")
	if err != nil {
		t.Fatal(err)
	}
	prose := strings.Join(strings.Fields(string(text)), " ")
	touched := 1 - math.Pow(248.0/256, 64)
	cache := d.Shape.KVReadBytes(sol.KVFP8, f.Context)
	one := d.Shape.StepWeightBytes(1)
	for _, want := range []string{
		fmt.Sprintf("C is 4096 + 512/2 = %.0f", f.Context),
		fmt.Sprintf("1 − (248/256)^64 = %.1f %% of the experts", 100*touched),
		fmt.Sprintf("%.4f + 0.869 × %.4f = %.2f GB of weights", d.Shape.FixedBytes()/1e9, d.Shape.RoutedBytes()/1e9, d.Shape.StepWeightBytes(64)/1e9),
		fmt.Sprintf("132 × 4352) = %.1f MB of cache", cache/1e6),
		fmt.Sprintf("eight copies: %.2f GB for 64 of them", 64*8*cache/1e9),
		fmt.Sprintf("That is %.2f GB a step, %.3f GB a token", f.Step.Bytes/1e9, f.Footprint/1e9),
		fmt.Sprintf("at 8 × 8.0 TB/s %.3f ms", f.TPOT*1e3),
		fmt.Sprintf("= %s tok/s/GPU. Prefill of a prompt is %.2f TFLOP, %.2f ms", thousands(f.Decode), f.Prompt.FLOPs/1e12, f.PrefillTime*1e3),
		fmt.Sprintf("/8 = %s tok/s/GPU.", thousands(f.Serving)),
		fmt.Sprintf("one token alone reads %.1f GB and not %.1f", one/1e9, d.Shape.ActiveParams()*sol.NVFP4.Bytes()/1e9),
	} {
		if !strings.Contains(prose, want) {
			t.Errorf("docs/sol.md does not say %q", want)
		}
	}
	for _, code := range []string{"CEIL_UNKNOWN", "CEIL_INLINE", "CEIL_NULL", "CEIL_SUSPECT_SPARSE", "CEIL_AVERAGED", "CEIL_CLOCK", "CEIL_UNSOURCED", "CEIL_AMBIGUOUS", "CEIL_RANGE", "SOL_OVER", "TPOT_NON_MONOTONE", "FRONTIER_REQUIRED", "FRONTIER EMPTY"} {
		if !slices.ContainsFunc(strings.Split(prose, "`"), func(part string) bool { return part == code }) {
			t.Errorf("docs/sol.md does not explain %s", code)
		}
	}
}
