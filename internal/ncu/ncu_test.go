package ncu

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"pipeline/internal/profile"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t *testing.T, name string) []Launch {
	t.Helper()
	launches, err := Parse(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return launches
}

func equal(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s is %v, want %g", what, show(got), want)
	}
}

func show(v *float64) any {
	if v == nil {
		return "not known"
	}
	return *v
}

// The figures are those that stand in the file.
func TestDetailsPage(t *testing.T) {
	launches := parse(t, "details_cc120_k1.csv")
	if len(launches) != 1 {
		t.Fatalf("%d launches, want 1", len(launches))
	}
	l := launches[0]
	if l.CC != "12.0" || l.ID != "0" || !strings.HasPrefix(l.Kernel, "enable_if<!T7, void>::type kernel<int, int,") {
		t.Errorf("launch %q of %q on %q", l.ID, l.Kernel, l.CC)
	}
	equal(t, "duration", l.DurationNS, 6750)
	equal(t, "SM", l.SMPct, 9.15)
	equal(t, "memory", l.MemoryPct, 19.66)
	equal(t, "DRAM", l.DRAMPct, 19.66)
	equal(t, "L2", l.L2Pct, 8.59)
	equal(t, "DRAM bytes", l.DRAMBytes, 2.33e6)
	if l.TensorPct != nil {
		t.Errorf("tensor %v, and the file has none", *l.TensorPct)
	}
	// The counter of bf16 to fp32 reads 0; that of bf16 to bf16 is n/a.
	if ops, known := l.TensorOps(); !known || len(ops) != 1 || ops["bf16"] != 0 {
		t.Errorf("tensor operations %v, known %t", ops, known)
	}
}

func TestRawPage(t *testing.T) {
	launches := parse(t, "raw.csv")
	if len(launches) != 3 {
		t.Fatalf("%d launches, want 3", len(launches))
	}
	l := launches[0]
	equal(t, "duration", l.DurationNS, 30e3)
	equal(t, "DRAM bytes", l.DRAMBytes, 1200.5e6+2000)
	equal(t, "DRAM", l.DRAMPct, 60)
	ops, known := l.TensorOps()
	if !known || len(ops) != 1 || ops["fp4_fp6_fp8"] != 4e9 {
		t.Errorf("tensor operations %v %t: those that are n/a are not zero, they are not there", ops, known)
	}
}

func TestSummarize(t *testing.T) {
	text := read(t, "raw.csv")
	c, err := profile.NewClassifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, doubts, err := Summarize(text, parse(t, "raw.csv"), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Launches != 3 || s.DurationNS != 100e3 {
		t.Errorf("%d launches of %g ns", s.Launches, s.DurationNS)
	}
	equal(t, "SM", s.SMPct, (50*30+20*10+80*60)/100.0)
	equal(t, "DRAM", s.DRAMPct, (60*30+10*10+90*60)/100.0)
	equal(t, "tensor", s.TensorPct, (40*30+70*60)/100.0)
	equal(t, "DRAM bytes", s.DRAMBytes, 2*(1200.5e6+2000)+100e6)
	if s.MemoryPct != nil {
		t.Error("a mean of what was not collected")
	}
	if len(s.TensorOps) != 1 || s.TensorOps["fp4_fp6_fp8"] != 12e9 {
		t.Errorf("tensor operations %v", s.TensorOps)
	}
	if len(s.Categories) != 2 || s.Categories[0].Name != "GEMM" || s.Categories[0].Share != 0.9 || s.Categories[1].Name != "NCCL" {
		t.Errorf("categories %+v", s.Categories)
	}
	if len(s.Kernels) != 2 || s.Kernels[0].Launches != 2 {
		t.Errorf("kernels %+v", s.Kernels)
	}
	if len(doubts) != 1 || !strings.HasPrefix(doubts[0], "ncu_replay: ") {
		t.Errorf("doubts %q", doubts)
	}
}

// Counters of the tensor pipes overlap; each operation counts once.
func TestTensorOpsCountOnce(t *testing.T) {
	l := Launch{}
	for name, value := range map[string]string{
		"sm__ops_path_tensor_src_bf16_dst_fp32.sum":                      "100",
		"sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32.sum":              "100",
		"sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32_sparsity_off.sum": "60",
		"sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32_sparsity_on.sum":  "40",
		"sm__ops_path_tensor_src_bf16_dst_bf16.sum":                      "7",
		"sm__ops_path_tensor_op_imma_src_int8.sum":                       "5",
		"sm__ops_path_tensor_op_imma_src_int8_sparsity_off.sum":          "5",
		"sm__ops_path_tensor_src_fp16_dst_fp32_sparsity_off.sum":         "3",
		"sm__ops_path_tensor_src_fp16_dst_fp32.sum.per_cycle_elapsed":    "999",
		"sm__ops_path_tensor_src_tf32_dst_fp32.sum":                      "n/a",
	} {
		if err := l.take(name, "", value); err != nil {
			t.Fatal(err)
		}
	}
	ops, known := l.TensorOps()
	if want := map[string]float64{"bf16": 107, "int8": 5, "fp16": 3}; !known || len(ops) != len(want) ||
		ops["bf16"] != want["bf16"] || ops["int8"] != want["int8"] || ops["fp16"] != want["fp16"] {
		t.Errorf("operations %v, want %v", ops, want)
	}
	if _, known := (&Launch{}).TensorOps(); known {
		t.Error("operations of a launch without a counter are known")
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]float64{"13,485": 13485, "9,495.42": 9495.42, "0": 0, "1.5e3": 1500, "4.0e-05": 4e-5, "-2": -2, "1,234,567": 1234567} {
		if v, known, err := parseNumber(text); err != nil || !known || v != want {
			t.Errorf("%s is %g, %t, %v", text, v, known, err)
		}
	}
	for _, text := range []string{"n/a", "", "nan", "N/A"} {
		if _, known, err := parseNumber(text); known || err != nil {
			t.Errorf("%q is known: %t, %v", text, known, err)
		}
	}
	for _, text := range []string{"65,77", "27.595.520", "1,23,4", "0x10", "1_000", "fast"} {
		if _, _, err := parseNumber(text); err == nil || !strings.Contains(err.Error(), "LC_ALL=C") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

const head = `"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"` + "\n"

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "no table of ncu",
		"a\nb\n":             "no table of ncu",
		`"ID","Name"` + "\n": "no column Kernel Name",
		head + `"0","k","s","Duration","us","65,77"`:                             "LC_ALL=C",
		head + `"0","k","s","Duration","cycle","65"`:                             "--print-units base",
		head + `"0","k","s","sm__ops_path_tensor_src_bf16.sum","Gops","65"`:      "--print-units base",
		head + `"0","k","s","Duration","us","-1"`:                                "below zero",
		head + `"","k","s","Duration","us","1"`:                                  "names no ID",
		"\"ID\",\"Kernel Name\",\"gpu__time_duration.sum\"\n\"0\",\"k\",\"1\"\n": "no units",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
	if _, err := Parse(strings.NewReader("x")); !errors.Is(err, ErrEmpty) {
		t.Errorf("error %v", err)
	}
}

func TestSummarizeRefuses(t *testing.T) {
	c, _ := profile.NewClassifier(nil)
	if _, _, err := Summarize(nil, nil, c); err == nil {
		t.Error("no launches are no error")
	}
	if _, _, err := Summarize(nil, []Launch{{ID: "7", Kernel: "k"}}, c); err == nil || !strings.Contains(err.Error(), "launch 7 (k) has no duration") {
		t.Errorf("error %v", err)
	}
}

// The counters of operations do not count all instructions of all GPUs: a zero
// of theirs beside active pipes is said.
func TestTensorOpsZeroIsDoubted(t *testing.T) {
	c, _ := profile.NewClassifier(nil)
	ns, pct := 10.0, 55.0
	l := Launch{ID: "0", Kernel: "wgmma", DurationNS: &ns, TensorPct: &pct, ops: []counter{{from: "bf16", to: "fp32"}}}
	_, doubts, err := Summarize(nil, []Launch{l}, c)
	if err != nil || len(doubts) != 2 || !strings.HasPrefix(doubts[1], "ncu_tensor_ops: ") {
		t.Errorf("doubts %q, error %v", doubts, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(read(f, "details_cc120_k3.csv"))
	f.Add(read(f, "raw.csv"))
	f.Add([]byte(head + `"0","k","s","Duration","us","65,77"`))
	f.Add([]byte("==PROF==\nID,Kernel Name,a\n,,\n0,,1\n"))
	c, err := profile.NewClassifier(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		launches, err := Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, l := range launches {
			for _, v := range []*float64{l.DurationNS, l.SMPct, l.DRAMBytes} {
				if v != nil && (*v < 0 || math.IsNaN(*v)) {
					t.Errorf("launch %s has %g", l.ID, *v)
				}
			}
		}
		if s, _, err := Summarize(text, launches, c); err == nil && s.Launches != len(launches) {
			t.Errorf("%d launches are summed of %d", s.Launches, len(launches))
		}
	})
}
