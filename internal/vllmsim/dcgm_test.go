package vllmsim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exporter is a server whose counters are collected by the test alone.
func exporter(t *testing.T, change func(*Config)) (*Server, string) {
	t.Helper()
	return start(t, func(c *Config) {
		c.ModelShape, c.Hardware, c.TensorParallelSize = "llama-3.1-8b", "h100_sm90", 2
		c.DCGM.Interval = time.Hour
		if change != nil {
			change(c)
		}
	})
}

// page reads the exporter's page: values by name and gpu label.
func page(t *testing.T, url string) (map[string]map[string]float64, map[string]*dto.MetricFamily) {
	t.Helper()
	_, _, body := call(t, "GET", url+"/dcgm/metrics", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	values := map[string]map[string]float64{}
	for name, f := range families {
		values[name] = map[string]float64{}
		for _, m := range f.GetMetric() {
			v := m.GetGauge().GetValue()
			if f.GetType() == dto.MetricType_COUNTER {
				v = m.GetCounter().GetValue()
			}
			values[name][label(m, "gpu")] = v
		}
	}
	return values, families
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func generate(t *testing.T, url string) {
	t.Helper()
	call(t, "POST", url+"/v1/completions", `{"prompt":"`+strings.Repeat("abc ", 200)+`","max_tokens":40,"ignore_eos":true}`)
}

// What the exporter says over a span is what the account of the steps says:
// ratio × span × peak are the bytes, the FLOPs and the busy time of one GPU.
func TestDCGMFollowsTheAccount(t *testing.T) {
	s, url := exporter(t, func(c *Config) { c.TimeScale = 1 })
	s.collector.collect(s.engine.now())
	from := s.collector.at
	generate(t, url)
	s.collector.collect(s.engine.now())
	span, total := (s.collector.at - from).Seconds(), s.Totals()
	got, _ := page(t, url)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > dcgmJitter*math.Abs(want)+1e-5 {
			t.Errorf("%s is %g, want %g", what, got, want)
		}
	}
	const clocked, link = 3.352e12, 450e9 // of h100_sm90 in configs/sol-ceilings.yaml
	overhead := float64(total.Steps) * s.config.StepOverhead.Seconds()
	for gpu := range 2 {
		of := func(name string) float64 { return got[name][fmt.Sprint(gpu)] }
		near("bytes", of("DCGM_FI_PROF_DRAM_ACTIVE")*span*clocked, total.Bytes/2)
		near("math time", of("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")*span, total.MathSeconds)
		near("kernel time", of("DCGM_FI_PROF_GR_ENGINE_ACTIVE")*span, total.BusySeconds-overhead)
		near("time in other kernels than collectives", of("DCGM_FI_PROF_SM_ACTIVE")*span, total.BusySeconds-overhead-total.CommSeconds)
		near("mean power", of("DCGM_FI_DEV_POWER_USAGE"), 700*(dcgmIdlePower+0.5*of("DCGM_FI_PROF_DRAM_ACTIVE")+0.35*of("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")))
		// Two all-reduces a layer over 2 GPUs, each of which sends half of 2 × tokens × hidden × 2 bytes.
		tokens := float64(total.PrefillTokens + total.DecodeTokens)
		near("link bytes", of("DCGM_FI_PROF_NVLINK_TX_BYTES")*span, 2*32*tokens*4096*2)
		near("energy counter", of("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"), 1e3*s.collector.at.Seconds()*700*dcgmIdlePower+1e3*span*(of("DCGM_FI_DEV_POWER_USAGE")-700*dcgmIdlePower))
	}
	s.collector.collect(s.engine.now() + time.Second)
	if got, _ = page(t, url); got["DCGM_FI_PROF_GR_ENGINE_ACTIVE"]["0"] != 0 || got["DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"]["0"] != dcgmIdleMask {
		t.Errorf("an idle second reads %g busy", got["DCGM_FI_PROF_GR_ENGINE_ACTIVE"]["0"])
	}
}

// A collection in the middle of a step takes its part of it, and the next one the rest.
func TestDCGMPartOfAStep(t *testing.T) {
	s, err := build(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	batch := s.deployment.NewBatch()
	batch.Decode(1000)
	step := Step{Start: time.Second, Due: 2 * time.Second, Decode: 1, Cost: batch.Cost()}
	whole := s.engine.pricing.work(step, 1)
	s.engine.metrics.began(step)
	if got := s.engine.work(1250 * time.Millisecond); math.Abs(got.bytes-whole.bytes/4) > 1 || math.Abs(got.kernel-whole.kernel/4) > 1e-9 {
		t.Errorf("after a quarter: %+v of %+v", got, whole)
	}
	if got := s.engine.work(5 * time.Second); got != whole {
		t.Errorf("when it is over: %+v of %+v", got, whole)
	}
}

func TestDCGMNamesAndLabels(t *testing.T) {
	s, url := exporter(t, func(c *Config) {
		c.DCGM.Names, c.DCGM.GPUs, c.DCGM.Pod, c.DCGM.Counters = newNames, 4, "bench/vllm-0", true
	})
	if got, _ := page(t, url); len(got) != 1 {
		t.Errorf("before the first collection the page has %v", got)
	}
	s.collector.collect(s.engine.now())
	got, families := page(t, url)
	for _, name := range []string{"DCGM_FI_PROF_DRAM_UTIL_RATIO", "DCGM_FI_PROF_SM_CYCLES_ELAPSED_TOTAL", "DCGM_FI_DEV_BOARD_POWER_WATTS"} {
		if len(got[name]) != 4 {
			t.Errorf("%s: %v", name, got[name])
		}
	}
	m := families["DCGM_FI_PROF_DRAM_UTIL_RATIO"].GetMetric()
	if label(m[0], "hostname") != "vllmsim-node" || label(m[0], "pod") != "vllm-0" || label(m[0], "namespace") != "bench" || label(m[3], "pod") != "" {
		t.Errorf("labels: %v and %v", m[0], m[3])
	}
	if label(m[0], "UUID") == label(m[1], "UUID") || !strings.HasPrefix(label(m[0], "modelName"), "SIMULATED") {
		t.Errorf("labels: %v and %v", m[0], m[1])
	}
	s, url = exporter(t, func(c *Config) { c.DCGM.Fields = defaultFields })
	s.collector.collect(s.engine.now())
	if got, _ = page(t, url); got["DCGM_FI_PROF_SM_ACTIVE"] != nil || got["DCGM_FI_PROF_NVLINK_TX_BYTES"] != nil || got["DCGM_FI_PROF_DRAM_ACTIVE"] == nil {
		t.Error("the default counters have SM and NVLink activity, or lack memory activity")
	}
}

// Each fault can be seen on the page, and can be switched on while it runs.
func TestDCGMFaults(t *testing.T) {
	const gr, dram, sm = "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE"
	s, url := exporter(t, nil)
	look := func(fault string) map[string]map[string]float64 {
		t.Helper()
		if err := s.SetFaults(Faults{DCGM: fault}); err != nil {
			t.Fatal(err)
		}
		s.collector.collect(s.engine.now())
		generate(t, url)
		s.collector.collect(s.engine.now())
		got, _ := page(t, url)
		return got
	}
	healthy := look("")
	for _, c := range []struct {
		fault string
		seen  func(got map[string]map[string]float64) bool
	}{
		{"idle", func(got map[string]map[string]float64) bool { return got[gr]["0"] == 0 }},
		{"co_tenant", func(got map[string]map[string]float64) bool { return got[gr]["2"] > 0.5 && len(healthy[gr]) == 2 }},
		{"half", func(got map[string]map[string]float64) bool { return len(got[gr]) == 1 }},
		{"missing", func(got map[string]map[string]float64) bool { return got[sm] == nil && healthy[sm] != nil }},
		{"empty", func(got map[string]map[string]float64) bool { return got[gr] == nil }},
		{"percent", func(got map[string]map[string]float64) bool { return got[dram]["0"] > 1.02 }},
		{"low_traffic", func(got map[string]map[string]float64) bool {
			return got[dram]["0"]/got[gr]["0"] < 0.5*healthy[dram]["0"]/healthy[gr]["0"]
		}},
		{"straggler", func(got map[string]map[string]float64) bool { return got[dram]["1"] < 0.8*got[dram]["0"] }},
		{"thermal", func(got map[string]map[string]float64) bool {
			return got["DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"]["0"] == dcgmThermalMask && got["DCGM_FI_DEV_THERMAL_VIOLATION"]["0"] > 0
		}},
		{"power_cap", func(got map[string]map[string]float64) bool {
			return got["DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"]["0"] == dcgmPowerMask
		}},
		{"xid", func(got map[string]map[string]float64) bool { return got["DCGM_FI_DEV_XID_ERRORS"]["1"] == dcgmXID }},
		{"ecc", func(got map[string]map[string]float64) bool { return got["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"]["1"] == 1 }},
	} {
		if got := look(c.fault); !c.seen(got) {
			t.Errorf("%s cannot be seen: %v", c.fault, got)
		}
	}
	if healthy[gr]["0"] <= 0 || healthy[dram]["0"] > 1 {
		t.Errorf("healthy: %v", healthy)
	}
	if err := s.SetFaults(Faults{DCGM: "no_such"}); err == nil || !strings.Contains(err.Error(), `"no_such"`) {
		t.Errorf("an unknown fault: %v", err)
	}
}
