package sol

import (
	"strings"
	"testing"
)

const goodKey = `schema: sol-ceilings/v1
as_of: "2026-11-23"
keys:
  x1_sm100:
    tokens: [X1]
    aliases: [X1-dgx]
    vendor: nvidia
    compute_capability: "10.0"
    hbm3e_tbps: 8.0
    mem_bw_key: hbm3e_tbps
    mem_bus_bits: 8192
    mem_clock_mhz: 3900
    hbm_tbps_clocked: 7.987
    mem_gb: 180
    dense_tflops: {bf16: 1000, fp16: 1000, fp8: 2000, fp4: 4000}
    dense_tops: {int8: 2000}
    nvlink_gbps_dir: 900
    achievable:
      - {metric: hbm_tbps, value: 6.1, tool: stream, source: us}
      - {metric: hbm_tbps, value: 5.9, tool: stream, conditions: ECC on, source: us}
    conflicts:
      - {field: hbm3e_tbps, values: [8.0, 7.7], note: "nominal; a data sheet"}
    sources: [a data sheet]
`

// Each refusal has a file that trips it, and is one change away from one that
// does not.
func TestCeilingsRefusals(t *testing.T) {
	if _, err := ParseCeilings("x.yaml", []byte(goodKey)); err != nil {
		t.Fatalf("the good file is refused: %v", err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"sparse fp8", "fp8: 2000", "fp8: 4000", "CEIL_SUSPECT_SPARSE: x1_sm100.dense_tflops.fp8 is 4.00 times x1_sm100.dense_tflops.bf16"},
		{"sparse fp4", "fp4: 4000", "fp4: 8000", "CEIL_SUSPECT_SPARSE: x1_sm100.dense_tflops.fp4 is 4.00 times"},
		{"sparse fp16", "fp16: 1000", "fp16: 2000", "CEIL_SUSPECT_SPARSE: x1_sm100.dense_tflops.fp16"},
		{"sparse int8", "int8: 2000", "int8: 4000", "CEIL_SUSPECT_SPARSE: x1_sm100.dense_tops.int8"},
		{"averaged", "hbm3e_tbps: 8.0\n", "hbm3e_tbps: 7.85\n", "CEIL_AVERAGED: x1_sm100.hbm3e_tbps is 7.85, which is none of the values in conflict [8 7.7]"},
		{"null without a conflict", "fp4: 4000", "fp4: null", "CEIL_NULL: x1_sm100.dense_tflops.fp4 is null and no conflict says why"},
		{"null bandwidth", "hbm3e_tbps: 8.0\n", "hbm3e_tbps: null\n", "CEIL_NULL: x1_sm100.hbm3e_tbps is null in x.yaml (sources conflict: [8 7.7]"},
		{"no such bandwidth", "mem_bw_key: hbm3e_tbps", "mem_bw_key: hbm3_tbps", "CEIL_UNKNOWN: x.yaml has no figure at x1_sm100.hbm3_tbps"},
		{"clock", "7.987", "8.1", "CEIL_CLOCK: x1_sm100.hbm_tbps_clocked is 8.1, and 8192 bits at 3900 MHz give 7.987"},
		{"half a clock", "    mem_clock_mhz: 3900\n", "", "CEIL_CLOCK: x1_sm100: mem_bus_bits"},
		{"no source", "sources: [a data sheet]", "sources: []", "CEIL_UNSOURCED: x1_sm100 lists no sources"},
		{"reached by nothing", "tool: stream, conditions", "tool: '', conditions", "CEIL_UNSOURCED: x1_sm100.achievable"},
		{"conflict of nobody", "values: [8.0, 7.7], note: \"nominal; a data sheet\"", "values: [], note: x", "CEIL_UNSOURCED: the conflict of x1_sm100.hbm3e_tbps"},
		{"no token", "tokens: [X1]", "tokens: []", "CEIL_UNSOURCED: x1_sm100 lists no hardware token"},
		{"zero", "nvlink_gbps_dir: 900", "nvlink_gbps_dir: 0", "CEIL_RANGE: x1_sm100.nvlink_gbps_dir is 0"},
		{"schema", "sol-ceilings/v1", "sol-ceilings/v0", `schema "sol-ceilings/v0" is not "sol-ceilings/v1"`},
		{"unknown field", "nvlink_gbps_dir", "hbm_gbps", "hbm_gbps"},
	} {
		text := strings.Replace(goodKey, c.old, c.new, 1)
		if text == goodKey {
			t.Fatalf("%s: %q is not in the good file", c.name, c.old)
		}
		if _, err := ParseCeilings("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
	two := goodKey + strings.ReplaceAll(strings.ReplaceAll(goodKey[strings.Index(goodKey, "  x1_sm100:"):], "x1_sm100", "x2_sm100"), "[X1]", "[X2]")
	if _, err := ParseCeilings("x.yaml", []byte(two)); err == nil || !strings.Contains(err.Error(), `CEIL_AMBIGUOUS: "X1-dgx" means x1_sm100 and x2_sm100`) {
		t.Errorf("one alias of two keys: %v", err)
	}
}

// Twelve kinds of GPU, each with a bandwidth, a peak, a token, sources.
func TestBuiltinCeilings(t *testing.T) {
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"A100": "a100_sm80", "L40S": "l40s_sm89", "H100": "h100_sm90", "H200": "h200_sm90", "B200": "b200_sm100", "GB200": "gb200_sm100",
		"B300": "b300_sm103", "GB300": "gb300_sm103", "RTXPRO6000": "rtxpro6000_sm120", "MI300X": "mi300x_gfx942", "MI325X": "mi325x_gfx942", "MI355X": "mi355x_gfx950",
	}
	if len(c.Keys()) != len(want) {
		t.Errorf("keys are %v, want %d", c.Keys(), len(want))
	}
	for token, key := range want {
		g, err := c.Find(token)
		if err != nil || g.Key != key || g.Bandwidth <= 0 || g.MemBytes <= 0 {
			t.Errorf("%s means %q (%v), want %s", token, g.Key, err, key)
			continue
		}
		if peak, _, err := g.Peak("bf16"); err != nil || peak <= 0 {
			t.Errorf("%s has no bf16 peak: %v", key, err)
		}
	}
}

// A word is exact: an alias must be listed, and a prefix means nothing.
func TestFind(t *testing.T) {
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{"b200-dgxc": "b200_sm100", "NVIDIA B200": "b200_sm100", "GB200": "gb200_sm100", "h100-cw": "h100_sm90", "h100_sm90": "h100_sm90"} {
		if g, err := c.Find(word); err != nil || g.Key != want {
			t.Errorf("%s means %q, %v; want %s", word, g.Key, err, want)
		}
	}
	for _, word := range []string{"B200X", "b200", "B20", "H100-foo", ""} {
		if g, err := c.Find(word); err == nil || !strings.HasPrefix(err.Error(), "CEIL_UNKNOWN: hardware") || !strings.Contains(err.Error(), "known: a100_sm80, ") {
			t.Errorf("%q means %q, %v; want CEIL_UNKNOWN with the known keys", word, g.Key, err)
		}
	}
}

func TestOwnCeilings(t *testing.T) {
	base, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	both, err := base.With("mine.yaml", []byte(goodKey))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Lookup("x1_sm100.hbm3e_tbps"); err != nil || got != 8 {
		t.Errorf("the added key has %v, %v", got, err)
	}
	if got, err := both.Lookup("h100_sm90.hbm3_tbps"); err != nil || got != 3.35 {
		t.Errorf("a key of the base has %v, %v", got, err)
	}
	g, err := both.Find("X1")
	if err != nil || g.File != "mine.yaml" {
		t.Errorf("X1 stands in %q, %v", g.File, err)
	}
	if best, ok := g.Reached("hbm_tbps"); !ok || best.Value != 6.1 {
		t.Errorf("the highest rate reached is %+v", best)
	}
	if peak, _, err := g.Peak("fp8"); err != nil || peak != 2000*tera {
		t.Errorf("peak through the joined file: %v, %v", peak, err)
	}
	if both.Digest() == base.Digest() {
		t.Error("two files have the digest of one")
	}

	// A key of one's own replaces the whole entry; what it leaves out is gone.
	own := strings.NewReplacer("x1_sm100", "b200_sm100", "[X1]", "[B200]", "bf16: 1000, fp16: 1000, fp8: 2000, fp4: 4000", "bf16: 2300", "hbm3e_tbps: 8.0\n", "hbm3e_tbps: 7.7\n",
		"    mem_bus_bits: 8192\n    mem_clock_mhz: 3900\n    hbm_tbps_clocked: 7.987\n", "", "int8: 2000", "int8: 4600").Replace(goodKey)
	both, err = base.With("mine.yaml", []byte(own))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Lookup("b200_sm100.hbm3e_tbps"); err != nil || got != 7.7 {
		t.Errorf("the replaced key has %v, %v", got, err)
	}
	if _, err := both.Lookup("b200_sm100.dense_tflops.fp8"); err == nil || !strings.HasPrefix(err.Error(), "CEIL_UNKNOWN") {
		t.Errorf("what the own file leaves out: %v", err)
	}

	// Sparse in all formats keeps the ratios: the figures that are known show it.
	sparse := strings.NewReplacer("x1_sm100", "b200_ours", "[X1]", "[B200]", "bf16: 1000, fp16: 1000, fp8: 2000, fp4: 4000", "bf16: 4500, fp16: 4500, fp8: 9000, fp4: 18000", "int8: 2000", "int8: 9000").Replace(goodKey)
	if _, err := base.With("mine.yaml", []byte(sparse)); err == nil || !strings.Contains(err.Error(), "CEIL_SUSPECT_SPARSE: b200_ours.dense_tflops.bf16 is 2.00 times b200_sm100.dense_tflops.bf16") {
		t.Errorf("figures twice as large as those known: %v", err)
	}
	clash := strings.Replace(goodKey, "[X1]", "[B200]", 1)
	if _, err := base.With("mine.yaml", []byte(clash)); err == nil || !strings.Contains(err.Error(), `CEIL_AMBIGUOUS: "B200" means b200_sm100 and x1_sm100`) {
		t.Errorf("a token that is taken: %v", err)
	}
}

func TestRefuseInline(t *testing.T) {
	err := RefuseInline("cell", "hbm_tbps", "8.2")
	if err == nil || !strings.HasPrefix(err.Error(), "CEIL_INLINE: cell sets hbm_tbps=8.2 inline; peaks come only from configs/sol-ceilings.yaml by key path") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"declare.hbm3e_tbps", "b200_sm100.dense_tflops.fp8"} {
		if RefuseInline("x", name, "1") == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, name := range []string{"hardware", "gpu_memory_utilization", "tflops_note"} {
		if err := RefuseInline("x", name, "1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseCeilings(f *testing.F) {
	f.Add([]byte(goodKey))
	f.Add([]byte(strings.Replace(goodKey, "8.0", "null", 1)))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := ParseCeilings("fuzz.yaml", src)
		if err != nil {
			return
		}
		for _, key := range c.Keys() {
			if g, err := c.GPU(key); err != nil || !(g.Bandwidth > 0) {
				t.Errorf("key %q was taken with a bandwidth of %g (%v)", key, g.Bandwidth, err)
			}
		}
	})
}
