package dcgmcorrelate

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/prom"
	"pipeline/internal/realparts"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A recording is what Prometheus has of some nodes: a window of load for each
// fault, a minute long, with two minutes of idleness between.
type recording struct {
	faults []fault
	from   time.Time
}

// A fault changes what is recorded of a GPU in its window; value returns NaN
// for a sample that is not there.
type fault struct {
	name  string
	code  string // of the check that must find it; "" is a healthy node
	want  string // its status
	text  string // a part of what it says
	rigor string
	value func(f dcgm.Field, gpu int, second float64, v float64) float64
	label func(name string) (legacy bool) // which names the exporter of the node has
	step  func(*Step)
}

const (
	gpusOfANode = 8
	servingGPUs = 4
	loadSeconds = 60
	cellSeconds = 180 // from one window to the next
)

func (r *recording) window(i int) (from, to time.Time) {
	from = r.from.Add(time.Duration(i*cellSeconds+60) * time.Second)
	return from, from.Add(loadSeconds * time.Second)
}

// recorded is what a healthy GPU shows when busy is the share of the interval
// in which it had load. DRAM activity is what the model predicts (0.60), with
// noise that is never the same twice.
func recorded(f dcgm.Field, gpu int, at, busy float64) float64 {
	noise := 1 + 0.01*math.Sin(5*at+float64(gpu))
	switch f {
	case dcgm.GR:
		return 0.97 * busy * (1 + 0.004*math.Sin(at))
	case dcgm.SM:
		return 0.9 * busy * noise
	case dcgm.Tensor:
		return 0.2 * busy * noise
	case dcgm.DRAM:
		return 0.6 * busy * noise
	case dcgm.NVLinkTx, dcgm.NVLinkRx:
		return math.Floor(2e10 * busy * noise)
	case dcgm.Power:
		return 100 + 500*busy
	case dcgm.Energy:
		return math.Floor(1e5*at + 5e5*busy) // replaced below
	case dcgm.SMClock:
		return 1980
	}
	return 0
}

var recordedFields = []dcgm.Field{dcgm.GR, dcgm.SM, dcgm.Tensor, dcgm.DRAM, dcgm.NVLinkTx, dcgm.NVLinkRx, dcgm.Power, dcgm.Energy, dcgm.SMClock, dcgm.ClockReasons, dcgm.XID}

// openMetrics writes the recording at one sample a second, with the collect
// interval of a second: a sample at t tells of the second before.
func (r *recording) openMetrics() string {
	var b bytes.Buffer
	for i, fault := range r.faults {
		for _, f := range recordedFields {
			name, host := f.Names()[0], "Hostname"
			if info, _ := f.Info(); fault.label != nil && !fault.label(info.Name) {
				name, host = info.Name, "hostname"
			}
			for g := range gpusOfANode {
				labels := fmt.Sprintf(`gpu="%d",UUID="GPU-%d-%d",modelName="NVIDIA H200",%s="gpu-%02d",instance="10.0.0.1:9400",job="dcgm"`, g, i, g, host, i)
				energy := 0.0
				for s := range cellSeconds {
					at := float64(s)
					busy := 0.0
					if g < servingGPUs && at > 60 && at <= 60+loadSeconds {
						busy = 1
					}
					energy += (100 + 500*busy) * 1e3
					v := recorded(f, g, at, busy)
					if f == dcgm.Energy {
						v = energy
					}
					if fault.value != nil {
						v = fault.value(f, g, at-60, v)
					}
					if !math.IsNaN(v) {
						fmt.Fprintf(&b, "%s{%s} %v %.3f\n", name, labels, v, float64(r.from.Unix()+int64(i*cellSeconds+s))+0.25)
					}
				}
			}
		}
	}
	b.WriteString("# EOF\n")
	return b.String()
}

// Whole recorded windows, in blocks that promtool made: each planted fault is
// found, and by its check; a healthy window reads what was recorded.
func TestRecordedWindows(t *testing.T) {
	only := func(f dcgm.Field, gpu int, v float64) func(dcgm.Field, int, float64, float64) float64 {
		return func(field dcgm.Field, g int, s, was float64) float64 {
			if field == f && (gpu < 0 || g == gpu) && s > 0 && s <= loadSeconds {
				return v
			}
			return was
		}
	}
	r := &recording{from: t0, faults: []fault{
		{name: "healthy", rigor: dcgm.RigorL3},
		{name: "new names", rigor: dcgm.RigorL3, label: func(string) bool { return false }},
		{name: "idle GPUs", code: "DC04", want: dcgm.Fail, text: "GPUs idle during the window", rigor: dcgm.RigorNone,
			step: func(s *Step) { s.Indices = []int{4, 5, 6, 7} }},
		{name: "default counters", code: "DC01", want: dcgm.Fail, text: "has 3 of 6 required fields (missing 1002", rigor: dcgm.RigorNone,
			value: func(f dcgm.Field, _ int, _, v float64) float64 {
				if f == dcgm.SM || f == dcgm.NVLinkTx || f == dcgm.NVLinkRx {
					return math.NaN()
				}
				return v
			}},
		{name: "load before", code: "DC05", want: dcgm.Warn, text: "load existed before the bench", rigor: dcgm.RigorL3,
			value: func(f dcgm.Field, g int, s, v float64) float64 {
				if s <= 0 && s > -30 && g < servingGPUs {
					return recorded(f, g, s, 0.9)
				}
				return v
			}},
		{name: "co-tenant", code: "DC06", want: dcgm.Warn, text: "co-tenant on GPU 5 of gpu-05", rigor: dcgm.RigorL3, value: only(dcgm.GR, 5, 0.4)},
		{name: "stale", code: "DC08", want: dcgm.Fail, text: "shows the same figures in all of", rigor: dcgm.RigorNone,
			value: func(f dcgm.Field, g int, s, v float64) float64 {
				if f.Profiling() && s > 0 && s <= loadSeconds && g < servingGPUs {
					return recorded(f, g, 1, 1)
				}
				return v
			}},
		{name: "percent", code: "DC09", want: dcgm.Fail, text: "the source seems to scale ratios to percent", rigor: dcgm.RigorNone,
			value: func(f dcgm.Field, _ int, s, v float64) float64 {
				if info, _ := f.Info(); info.Unit == dcgm.Ratio {
					return 100*v + 2
				}
				return v
			}},
		{name: "exporter stops", code: "DC11", want: dcgm.Fail, text: "s without a collection of GPU", rigor: dcgm.RigorNone,
			value: func(f dcgm.Field, g int, s, v float64) float64 {
				if s > 40 { // query_range would go on with the last value for five minutes
					return math.NaN()
				}
				return v
			}},
		{name: "throttled", code: "DC12", want: dcgm.Warn, text: "THROTTLED: GPU 2 of gpu-09: 0x40", rigor: dcgm.RigorL3, value: only(dcgm.ClockReasons, 2, 0x40)},
		{name: "xid", code: "DC13", want: dcgm.Fail, text: "GPU 1 of gpu-10: XID 79", rigor: dcgm.RigorNone, value: only(dcgm.XID, 1, 79)},
		{name: "straggler", code: "DC15", want: dcgm.Warn, text: "a straggler holds up the others", rigor: dcgm.RigorL3,
			value: func(f dcgm.Field, g int, _, v float64) float64 {
				if f == dcgm.DRAM && g == 3 {
					return 0.8 * v
				}
				return v
			}},
	}}
	url := realparts.Prometheus(t, realparts.Backfill(t, r.openMetrics()))
	for i, fault := range r.faults {
		from, to := r.window(i)
		one := newRun(measured(from, to, perf.Setting{"tp": "4", "pp": "1", "dp": "1", "ceiling_key": "h200_sm90"}))
		one.step.Prometheus, one.step.CollectInterval = &Prometheus{URL: url}, steps.Duration(time.Second)
		one.step.Node, one.step.Indices = fmt.Sprintf("gpu-%02d.cluster.local", i), []int{0, 1, 2, 3}
		if fault.step != nil {
			fault.step(one.step)
		}
		report, err := one.do(t)
		if err != nil || report.Rigor != fault.rigor {
			t.Errorf("%s: %v, rigor %s: %s", fault.name, err, report.Rigor, report.Gap)
			continue
		}
		if c, ok := report.Check(fault.code); fault.code != "" && (!ok || c.Status != fault.want || !strings.Contains(c.Text, fault.text)) {
			t.Errorf("%s: %s is %s: %s", fault.name, fault.code, c.Status, c.Text)
		}
		if fault.code != "" {
			continue
		}
		// 2 s of eps, and 2 collect intervals: at 1 Hz the steady 56 s keep 50 or 51.
		if m := report.Mean["dram"]; math.Abs(m.Mean-0.6) > 0.001 || m.N < 50 || m.N > 51 || len(report.Source.Host) == 0 {
			t.Errorf("%s: %+v from %q", fault.name, m, report.Source.Host)
		}
		// 600 W on 4 GPUs over 56 s; 1,000 tok/s.
		if math.Abs(*report.EnergyJ-4*600*56) > 1 || math.Abs(*report.JPerOutputToken-2.4) > 1e-4 {
			t.Errorf("%s: %v J, %v a token", fault.name, *report.EnergyJ, *report.JPerOutputToken)
		}
		if c, _ := report.Check("DC06"); c.Status != dcgm.Pass || !strings.Contains(c.Text, "4 other GPUs of the node idle") {
			t.Errorf("%s: %+v", fault.name, c)
		}
	}
	t.Run("selection", func(t *testing.T) { testSelection(t, r, url) })
	t.Run("secrets", func(t *testing.T) { testSecrets(t, r, url) })
}

// The GPUs of a cell are found by what is known of them.
func testSelection(t *testing.T, r *recording, url string) {
	from, to := r.window(0)
	setting := perf.Setting{"tp": "4", "pp": "1", "dp": "1", "ceiling_key": "h200_sm90"}
	for _, c := range []struct {
		name   string
		change func(*Step)
		rigor  string
		text   string
	}{
		{"UUIDs", func(s *Step) { s.GPUs = []string{"GPU-0-0", "GPU-0-1", "GPU-0-2", "GPU-0-3"} }, dcgm.RigorL3, ""},
		{"the whole node", func(s *Step) { s.Node = "gpu-00" }, dcgm.RigorNone, "cell uses 4 GPUs, series found for 8 (node gpu-00)"},
		{"nothing", func(*Step) {}, dcgm.RigorNone, "cell uses 4 GPUs, series found for"},
		{"another node", func(s *Step) { s.Node = "gpu-77" }, dcgm.RigorNone, "has no series of DCGM_FI_PROF_GR_ENGINE_ACTIVE for node gpu-77"},
		{"a label that no series has", func(s *Step) { s.Node, s.Prometheus.Labels = "gpu-00", map[string]string{"cluster": "other"} }, dcgm.RigorNone, "has no series of"},
		{"a label that all have", func(s *Step) {
			s.GPUs, s.Prometheus.Labels = []string{"GPU-0-0", "GPU-0-1", "GPU-0-2", "GPU-0-3"}, map[string]string{"job": "dcgm"}
		}, dcgm.RigorL3, ""},
	} {
		one := newRun(measured(from, to, setting))
		one.step.Prometheus, one.step.CollectInterval = &Prometheus{URL: url}, steps.Duration(time.Second)
		c.change(one.step)
		report, err := one.do(t)
		if report == nil || report.Rigor != c.rigor || !strings.Contains(report.Gap, c.text) {
			t.Errorf("%s: %v, %+v", c.name, err, report)
		}
	}
}

// A token or a password reaches Prometheus by its name in the environment, and
// no file.
func testSecrets(t *testing.T, r *recording, address string) {
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	const token, password = "s3cr3t-token", "s3cr3t-password"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+password))
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if a := req.Header.Get("Authorization"); a != "Bearer "+token && a != basic {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		req.URL.Path = strings.TrimPrefix(req.URL.Path, "/prom")
		proxy.ServeHTTP(w, req)
	}))
	defer guard.Close()
	from, to := r.window(0)
	one := newRun(measured(from, to, perf.Setting{"tp": "4", "pp": "1", "dp": "1", "ceiling_key": "h200_sm90"}))
	one.step.Prometheus, one.step.CollectInterval = &Prometheus{URL: guard.URL + "/prom/"}, steps.Duration(time.Second)
	one.step.GPUs = []string{"GPU-0-0", "GPU-0-1", "GPU-0-2", "GPU-0-3"}
	if report, err := one.do(t); err == nil || !strings.Contains(report.Gap, "401") || !strings.Contains(report.Gap, "name the environment variable of its token or password") {
		t.Errorf("without: %v, %+v", err, report)
	}
	one.secrets = map[string]string{"TOKEN": token, "USER": "me", "PASSWORD": password}
	for _, name := range []string{"token", "password"} {
		one.step.Prometheus.TokenEnv, one.step.Prometheus.UserEnv, one.step.Prometheus.PasswordEnv = "TOKEN", "", ""
		if name == "password" {
			one.step.Prometheus.TokenEnv, one.step.Prometheus.UserEnv, one.step.Prometheus.PasswordEnv = "", "USER", "PASSWORD"
		}
		if report := one.ok(t); report.Rigor != dcgm.RigorL3 {
			t.Errorf("with the %s: %s", name, report.Gap)
		}
		for file, b := range one.written {
			if strings.Contains(b.String(), "s3cr3t") || strings.Contains(b.String(), "/prom/") {
				t.Errorf("%s holds a secret, or more of the address than its host", file)
			}
		}
	}
}

// A Prometheus that scrapes a running exporter: the means that are frozen are
// those of the simulation's own account, and the file is enough when
// Prometheus is gone.
func TestLivePrometheus(t *testing.T) {
	config := vllmsim.Defaults()
	config.Model, config.ModelShape, config.Hardware, config.TensorParallelSize = "m", "llama-3.1-8b", "h100_sm90", 2
	config.DCGM.Interval, config.DCGM.GPUs, config.DCGM.Node = 200*time.Millisecond, 4, "gpu-42"
	sim, err := vllmsim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	web := httptest.NewServer(sim)
	defer web.Close()
	address := strings.TrimPrefix(web.URL, "http://")

	var one *run
	var live *dcgm.Report
	t.Run("while it runs", func(t *testing.T) {
		prometheus := realparts.Prometheus(t, filepath.Join(t.TempDir(), "data"),
			realparts.Scrape{Job: "dcgm", Address: address, Path: "/dcgm/metrics", Interval: 200 * time.Millisecond, HonorLabels: true},
			realparts.Scrape{Job: "vllm", Address: address, Path: "/metrics", Interval: 200 * time.Millisecond})
		awaitScrape(t, prometheus)
		before, from := sim.Totals(), time.Now()
		load(t, web.URL, 8, 6*time.Second)
		after, to := sim.Totals(), time.Now()
		m := measuredBut(300*time.Millisecond, from, to, perf.Setting{"tp": "2", "pp": "1", "dp": "1", "ceiling_key": "h100_sm90"})
		m.Simulated = true
		one = newRun(m)
		one.step.Prometheus, one.step.CollectInterval = &Prometheus{URL: prometheus}, steps.Duration(200*time.Millisecond)
		one.step.Node, one.step.Indices = "gpu-42", []int{0, 1}
		live = one.ok(t)
		if live.Rigor != dcgm.RigorL3 || !live.Simulated || len(live.GPUs) != 2 || live.NEffMin < 5 {
			t.Fatalf("rigor %s, n_eff %d: %s", live.Rigor, live.NEffMin, live.Gap)
		}
		const clocked = 3.352e12 // of h100_sm90, bytes/s
		truth := (after.Bytes - before.Bytes) / 2 / to.Sub(from).Seconds() / clocked
		if got := live.Mean["dram"].Mean; math.Abs(got-truth) > 0.05*truth {
			t.Errorf("memory active %.4f, the simulation moved %.4f", got, truth)
		}
		if c, _ := live.Check("DC06"); c.Status != dcgm.Pass || !strings.Contains(c.Text, "2 other GPUs of the node idle") {
			t.Errorf("%+v", c)
		}
		// The exporter of vLLM's own figures is scraped beside it.
		store, err := prom.NewStore(prom.Access{URL: prometheus, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		series, query, err := store.Raw(context.Background(), `{__name__="vllm:generation_tokens_total"}`, from, time.Now())
		if err != nil || len(series) != 1 {
			t.Fatalf("%s: %d series, %v", query, len(series), err)
		}
		if last := series[0].V[len(series[0].V)-1]; last < 0.8*float64(after.GeneratedTokens) || last > float64(sim.Totals().GeneratedTokens) {
			t.Errorf("%s: %v tokens, the simulation made %d", query, last, after.GeneratedTokens)
		}
	})
	if live == nil {
		return
	}
	// Prometheus is gone.
	dir := t.TempDir()
	one.keep(t, dir)
	one.step.Frozen = steps.File(dir)
	again := one.ok(t)
	if again.FrozenDigest != live.FrozenDigest || again.Mean["dram"] != live.Mean["dram"] || again.Rigor != dcgm.RigorL3 {
		t.Errorf("from the frozen file: %s %+v, want %+v", again.Rigor, again.Mean["dram"], live.Mean["dram"])
	}
	one.step.Frozen = ""
	if gone, err := one.do(t); err == nil || gone.Quality != dcgm.QualityNone {
		t.Errorf("without it Prometheus is asked: %v, %+v", err, gone)
	}
}

// awaitScrape waits until the exporter was scraped a few times.
func awaitScrape(t *testing.T, address string) {
	t.Helper()
	store, err := prom.NewStore(prom.Access{URL: address, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		now := time.Now()
		series, _, err := store.Raw(ctx, `DCGM_FI_PROF_DRAM_ACTIVE{gpu="0"}`, now.Add(-time.Minute), now)
		if err == nil && len(series) == 1 && len(series[0].T) >= 3 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the exporter is not scraped: %v, %v", series, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// load keeps streams busy for a while.
func load(t testing.TB, url string, streams int, span time.Duration) {
	end := time.Now().Add(span)
	var done sync.WaitGroup
	for i := range streams {
		done.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				body := fmt.Sprintf(`{"model":"m","prompt":"%d %d %s","max_tokens":100,"ignore_eos":true}`, i, n, strings.Repeat("word ", 200))
				resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	done.Wait()
}
