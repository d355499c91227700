package dcgm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/internal/prom"
)

// lines prints samples for comparison: field, GPU, and values in order.
func lines(s *Samples) string {
	var b strings.Builder
	for _, one := range s.Series() {
		short := one.Field.String()
		if info, ok := one.Field.Info(); ok && info.Short != "" {
			short = info.Short
		}
		fmt.Fprintf(&b, "%s %s:", short, one.GPU.Key())
		for _, v := range one.V {
			fmt.Fprintf(&b, " %v", v)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func readDmon(t *testing.T, name string, o Dmon) *Dump {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := ReadDmon(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Real dumps of three versions of DCGM. What is wanted was read from the files
// by eye.
func TestReadDmonOfRealDumps(t *testing.T) {
	for _, c := range []struct {
		file        string
		rows, blank int
		want        string
	}{
		{"dmon_v339_na_first_sample.txt", 2, 3, "GRACT /0: 0\nSMACT /0: 0\nDRAMA /0: 0\n"},
		{"dmon_v3_rtx6000ada_active.txt", 3, 0, "GRACT /0: 1\nGRACT /1: 1\nGRACT /2: 0.984\nSMACT /0: 0.916\nSMACT /1: 0.926\nSMACT /2: 0.93\n" +
			"TENSO /0: 0.023\nTENSO /1: 0.038\nTENSO /2: 0\nDRAMA /0: 0.881\nDRAMA /1: 0.869\nDRAMA /2: 0.252\n"},
		{"dmon_nvlink_two_gpu.txt", 4, 0, "NVLTX /0: 0 1.44429797240e+11\nNVLTX /1: 0 1.44419184248e+11\nNVLRX /0: 0 1.44425422196e+11\nNVLRX /1: 0 1.44423560785e+11\n"},
		{"dmon_v318_h800_nvl_pcie.txt", 5, 8, "PCITX /0: 498948 449138 548740\nPCIRX /0: 1555 2074 1555\nNVLTX /0: 0 0 0\nNVLRX /0: 0 0 0\n"},
		{"dmon_v2_old_layout_mig.txt", 3, 0, "GRACT /-1/migGPU-I0: 0\nGRACT /-1/migGPU-I1: 0.75\nGRACT /0: 0.429\nSMACT /-1/migGPU-I0: 0\nSMACT /-1/migGPU-I1: 0.75\nSMACT /0: 0.429\n" +
			"SMOCC /-1/migGPU-I0: 0\nSMOCC /-1/migGPU-I1: 0.637\nSMOCC /0: 0.364\nTENSO /-1/migGPU-I0: 0\nTENSO /-1/migGPU-I1: 0.02\nTENSO /0: 0.011\n" +
			"DRAMA /-1/migGPU-I0: 0\nDRAMA /-1/migGPU-I1: 0.8\nDRAMA /0: 0.4\n"},
	} {
		d := readDmon(t, c.file, Dmon{Delay: time.Second})
		want := strings.NewReplacer("1.44429797240e+11", "1.4442979724e+11").Replace(c.want)
		if got := lines(&d.Samples); got != want || d.Rows != c.rows || d.Blank != c.blank || d.Stamped {
			t.Errorf("%s: %d rows, %d blank, stamped %v:\n%swant %d rows, %d blank:\n%s", c.file, d.Rows, d.Blank, d.Stamped, got, c.rows, c.blank, want)
		}
	}
}

// Rows of an iteration share a time, whatever the order of GPUs.
func TestReadDmonCountsIterations(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	d := readDmon(t, "dmon_v3_nvlink_rate_rises_and_falls.txt", Dmon{Delay: 500 * time.Millisecond, Start: start, GPUs: map[int]GPU{3: {UUID: "GPU-c", Index: 3}}})
	for _, s := range d.Samples.Series() {
		if s.Field != NVLinkTx || s.GPU.Index != 3 {
			continue
		}
		if fmt.Sprint(s.T) != "[1000000 1000500 1001000 1001500 1002000]" || s.V[0] != 19694075554 || s.V[4] != 0 || s.GPU.UUID != "GPU-c" {
			t.Errorf("%v %v %v", s.GPU, s.T, s.V)
		}
	}
	v2 := readDmon(t, "dmon_v2_old_layout_gract_tenso_drama.txt", Dmon{Delay: time.Second})
	if v2.Rows != 15 || len(v2.Samples.Series()) != 3 || v2.Samples.Len() != 45 {
		t.Errorf("%d rows, %d samples", v2.Rows, v2.Samples.Len())
	}
}

const stamped = "1795342540250\t#Entity   GRACT        SMACT        DRAMA        \n" +
	"1795342540250\tID                                               \n" +
	"1795342540251\tGPU 1     0.500                     0.700        \n" + // SMACT is blank for this entity
	"1795342540251\tGPU 0     N/A          0.400        0.600        \n" +
	"dmon was stopped due to receiving a signal\n" +
	"1795342541251\t#Entity   GRACT        SMACT        DRAMA        \n" +
	"1795342541251\tID                                               \n" +
	"1795342541252\tGPU 1     0.510        <<<NOT_SUPPORTED>>>        0.710        \n"

func TestReadDmonStampedAndBlank(t *testing.T) {
	for _, stamp := range []func(string) string{
		func(s string) string { return s },
		func(s string) string {
			return strings.NewReplacer("1795342540", "1795342540.", "1795342541", "1795342541.").Replace(s)
		},
		func(s string) string {
			return strings.NewReplacer("1795342540", "2026-11-22T10:15:40.", "1795342541", "2026-11-22T10:15:41.", "\t", "Z\t").Replace(s)
		},
		func(s string) string {
			return strings.NewReplacer("1795342540250", "1795342540250000000", "1795342540251", "1795342540251000000", "1795342541251", "1795342541251000000", "1795342541252", "1795342541252000000").Replace(s)
		},
	} {
		d, err := ReadDmon(strings.NewReader(stamp(stamped)), Dmon{})
		if err != nil {
			t.Fatal(err)
		}
		want := "GRACT /1: 0.5 0.51\nSMACT /0: 0.4\nDRAMA /0: 0.6\nDRAMA /1: 0.7 0.71\n"
		if got := lines(&d.Samples); got != want || !d.Stamped || d.Blank != 3 || d.Skipped != 1 {
			t.Errorf("stamped %v, %d blank, %d skipped:\n%s", d.Stamped, d.Blank, d.Skipped, got)
		}
		at := d.Samples.Series()[0].T
		if at[1]-at[0] != 1001 || at[0]%1000 != 251 {
			t.Errorf("times %v", at)
		}
	}
}

// Labels of columns lie in some dumps: ids after -e stand above them.
func TestReadDmonByIDs(t *testing.T) {
	ids := []Field{GR, 204, SM, DRAM, GPUTemp}
	d := readDmon(t, "dmon_8gpu_one_mig_na.txt", Dmon{Fields: ids, Delay: time.Second})
	if d.Rows != 8 || d.Blank != 2 || d.Samples.Len() != 8*5-2 {
		t.Errorf("%d rows, %d blank, %d samples", d.Rows, d.Blank, d.Samples.Len())
	}
	_, err := ReadDmon(strings.NewReader(stamped), Dmon{Fields: ids})
	if err == nil || !strings.Contains(err.Error(), "line 1: the header has 3 columns (GRACT, SMACT, DRAMA), and 5 field ids were given") {
		t.Errorf("%v", err)
	}
	d, err = ReadDmon(strings.NewReader("#Entity   NOSUCH  GRACT\nID\nGPU 0     1  0.5\n"), Dmon{})
	if err != nil || fmt.Sprint(d.Unknown) != "[NOSUCH]" || lines(&d.Samples) != "GRACT /0: 0.5\n" {
		t.Errorf("%v, %+v", err, d)
	}
}

func TestReadDmonRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"hello\nworld\n", `no header line "#Entity …"`},
		{"#Entity\n", "the header has no columns"},
		{"#Entity GRACT\n1795342540250\tGPU 0 0.5\nGPU 0 0.5\n", "line 3: some lines have a time stamp and some have none"},
	} {
		if _, err := ReadDmon(strings.NewReader(c.text), Dmon{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func FuzzReadDmon(f *testing.F) {
	names, err := filepath.Glob("testdata/dmon_*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(stamped))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ReadDmon(bytes.NewReader(text), Dmon{Delay: time.Second})
		if err != nil {
			return
		}
		for _, s := range d.Samples.Series() {
			if len(s.T) != len(s.V) || len(s.T) == 0 {
				t.Errorf("%d times, %d values", len(s.T), len(s.V))
			}
		}
	})
}

func TestReadTelemetry(t *testing.T) {
	f, err := os.Open("testdata/gpu_telemetry_export.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadTelemetry(f)
	if err != nil {
		t.Fatal(err)
	}
	// Two exporters report the one GPU, ten times each.
	gpus := got.Samples.GPUs()
	if got.Lines != 10 || len(gpus) != 1 || gpus[0].UUID != "GPU-ef6ef310-f8e2-cef9-036e-8f12d59b5ffc" || gpus[0].Model != "NVIDIA RTX 6000 Ada Generation" {
		t.Errorf("%d lines of %v", got.Lines, gpus)
	}
	for _, s := range got.Samples.Series() {
		switch s.Field {
		case Power:
			if s.V[0] != 30.257 || s.T[0] != 1762551530946 {
				t.Errorf("power %v at %d", s.V[0], s.T[0])
			}
		case Energy: // 32.62748095 MJ
			if s.V[0] != 32627480950 {
				t.Errorf("energy %v mJ", s.V[0])
			}
		case GR, SM, DRAM, Tensor:
			t.Errorf("AIPerf has no %s", s.Field)
		}
	}
	if len(got.Unknown) == 0 || got.Unknown["power_management_limit"] != 10 {
		t.Errorf("unknown: %v", got.Unknown)
	}
}

func TestReadTelemetryOfLaterSchema(t *testing.T) {
	got, err := ReadTelemetry(strings.NewReader(`{"timestamp_ns":1762551530946074466,"gpu_index":0,"gpu_uuid":"GPU-a","telemetry_data":{"nvidia_power_usage":300.5,"nvidia_gpu_utilization":99,"mem_utilization":null}}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := lines(&got.Samples); s != "POWER GPU-a: 300.5\nGPUTL GPU-a: 99\n" {
		t.Errorf("%s", s)
	}
	for _, bad := range []string{"{", `{"gpu_index":0,"telemetry_data":{}}`, `{"timestamp_ns":1,"telemetry_data":{}}`, `[]`} {
		if _, err := ReadTelemetry(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzReadTelemetry(f *testing.F) {
	text, err := os.ReadFile("testdata/gpu_telemetry_export.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"timestamp_ns":1,"gpu_uuid":"x","telemetry_data":{"gpu_power_usage":"a"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = ReadTelemetry(bytes.NewReader(text)) // must not panic
	})
}

// scrape reads a page of an exporter as a capture does.
func scrape(t *testing.T, name string) *Samples {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page, err := prom.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	var s Samples
	for _, name := range page.Names() {
		samples, _ := page.Find(name)
		for _, x := range samples {
			s.Add(name, x.Labels, 1000, x.Value)
		}
	}
	return &s
}

// Pages of real exporters: old and new labels, MIG instances, a sentinel.
func TestPagesOfExporters(t *testing.T) {
	s := scrape(t, "exporter_scrape_a100_loaded.prom")
	g := s.GPUs()
	if len(g) != 1 && len(g) != 2 || g[0].Node != "ub20-a100-k8s" || g[0].Index != 0 {
		t.Errorf("%v", g)
	}
	s = scrape(t, "exporter_scrape_a800_idle_mig.prom")
	mig := 0
	for _, g := range s.GPUs() {
		if g.MIG != "" {
			mig++
		}
	}
	if chosen, _, _ := (Selection{}).Choose(s); mig != 2 || len(chosen) != 2 {
		t.Errorf("%d MIG instances, %v whole GPUs", mig, chosen)
	}
	s = scrape(t, "exporter_scrape_blank_sentinel.prom")
	for _, one := range s.Series() {
		info, _ := one.Field.Info()
		if info.blank(one.V[0]) != (one.Field == 140) {
			t.Errorf("%s %v", one.Field, one.V)
		}
	}
	s = scrape(t, "dcgm_exporter_t4_driver580.txt")
	if g := s.GPUs(); len(g) != 1 || g[0].Model != "Tesla T4" || g[0].PCI != "00000000:00:1E.0" {
		t.Errorf("%v", g)
	}
}

func TestAddTakesEachTimeOnce(t *testing.T) {
	var s Samples
	labels := map[string]string{"UUID": "GPU-a", "gpu": "0", "pod": "dcgm-exporter-x", "exported_pod": "vllm-0", "exported_namespace": "bench"}
	for _, at := range []int64{10, 10, 20, 15} {
		s.Add("DCGM_FI_PROF_DRAM_UTIL_RATIO", labels, at, float64(at))
	}
	one := s.Series()
	if len(one) != 1 || fmt.Sprint(one[0].T) != "[10 20]" || one[0].Labels["pod"] != "vllm-0" || one[0].Labels["namespace"] != "bench" {
		t.Errorf("%+v", one[0])
	}
	if s.Add("DCGM_EXP_XID_ERRORS_COUNT", labels, 30, 1) || s.Len() != 2 {
		t.Error("a name that is no field was taken")
	}
	if s.Add("DCGM_FI_PROF_DRAM_ACTIVE", labels, 30, 20) || !s.Add("DCGM_FI_PROF_DRAM_ACTIVE", labels, 40, 21) {
		t.Error("what is news was not told from what is none")
	}
}

func TestChoose(t *testing.T) {
	var s Samples
	for _, node := range []string{"gpu-07.cluster.local", "gpu-08"} {
		for i := range 4 {
			labels := map[string]string{"UUID": fmt.Sprintf("GPU-%s-%d", node[4:6], i), "gpu": fmt.Sprint(i), "Hostname": node}
			if i < 2 {
				labels["pod"] = "vllm-" + node[5:6]
			}
			s.Add("DCGM_FI_PROF_DRAM_ACTIVE", labels, 1, 0.5)
		}
	}
	for _, c := range []struct {
		by                 Selection
		chosen, neighbours int
		how                string
	}{
		{Selection{UUIDs: []string{"GPU-07-1", "GPU-07-2", "GPU-99-0"}}, 2, 2, "3 UUIDs"},
		{Selection{Node: "gpu-07"}, 4, 0, "node gpu-07"},
		{Selection{Node: "gpu-07", Indices: []int{0, 1}}, 2, 2, "GPUs [0 1] of node gpu-07"},
		{Selection{Node: "gpu-08", Pods: []string{"vllm-8"}, Expected: 2}, 2, 2, "node gpu-08, pods vllm-8"},
		{Selection{Node: "gpu-08", Pods: []string{"vllm-8"}, Expected: 4}, 4, 0, "node gpu-08"},
		{Selection{Node: "gpu"}, 0, 0, "node gpu"},
		{Selection{Pods: []string{"vllm-8"}}, 2, 2, "pods vllm-8"},
		{Selection{}, 8, 0, "all that the source shows"},
		{Selection{MIG: true}, 0, 0, "all that the source shows"},
	} {
		chosen, neighbours, how := c.by.Choose(&s)
		if len(chosen) != c.chosen || len(neighbours) != c.neighbours || how != c.how {
			t.Errorf("%+v: %v and %v by %s", c.by, chosen, neighbours, how)
		}
	}
}

func TestCaptureRoundTrip(t *testing.T) {
	s := scrape(t, "dcgm_exporter_t4_driver580.txt")
	text, err := NewCapture(Source{Kind: FromScrape, Host: "gpu-07:9400"}, s, 3).JSON()
	if err != nil {
		t.Fatal(err)
	}
	c, again, err := ReadCapture(text)
	if err != nil || c.Lost != 3 || c.Versions["driver"] != "580.105.08" || lines(again) != lines(s) || lines(s) == "" {
		t.Errorf("%v: %+v\n%s", err, c, lines(again))
	}
	if _, _, err := ReadCapture([]byte(`{"schema":"x"}`)); err == nil || !strings.Contains(err.Error(), `the schema is "x"`) {
		t.Error(err)
	}
}

func FuzzReadCapture(f *testing.F) {
	f.Add([]byte(`{"schema":"dcgm-samples/v1","gpus":[{"uuid":"GPU-a","index":0}],"series":[{"field_id":1005,"gpu":"GPU-a","t0_ms":1,"dt_ms":"0 5","v":"0.5 0.6"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, s, err := ReadCapture(text); err == nil {
			s.Series() // must not panic
		}
	})
}
