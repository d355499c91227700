package rooflinesweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/digest"
	"pipeline/internal/endpoint"
	"pipeline/internal/roofline"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/cellrun"
	"pipeline/steps/rooflineimport"
	"pipeline/steps/stepstest"
)

func TestContract(t *testing.T) { stepstest.Check(t, Kind(cellrun.Kind())) }

type closing struct{ *bytes.Buffer }

func (closing) Close() error { return nil }

// A world is a sweep of a simulated Llama-3.1-8B on one H100.
type world struct {
	step   *Step
	env    *steps.Env
	out    map[string]*bytes.Buffer
	doubts []string
}

func newWorld(t *testing.T, scale float64, wrap func(http.Handler) http.Handler, declared map[string]string) *world {
	t.Helper()
	c := vllmsim.Defaults()
	c.Model, c.ModelShape, c.TensorParallelSize, c.Hardware, c.TimeScale = "llama", "llama-3.1-8b", 1, "h100_sm90", scale
	sim, err := vllmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	var h http.Handler = sim
	if wrap != nil {
		h = wrap(sim)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	access := endpoint.Access{URL: server.URL, DCGM: server.URL + "/dcgm/metrics"}
	client, err := endpoint.NewClient(access)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen, err := endpoint.Probe(t.Context(), client, endpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(declared) == 0 && declared != nil {
		delete(seen.Identity.Values, endpoint.Hardware)
		delete(seen.Identity.Values, endpoint.CeilingKey)
	}
	if declared == nil {
		declared = map[string]string{endpoint.Hardware: "H100", endpoint.CeilingKey: "h100_sm90", endpoint.ModelShape: "llama-3.1-8b"}
	}
	seen.Identity.Declare(declared)
	text, err := seen.Identity.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{step: Kind(cellrun.Kind()).New().(*Step), out: map[string]*bytes.Buffer{}}
	w.step.Decode = DecodeSweep{Concurrency: []int{1, 8}, ISL: 64, OSL: 16, PromptsPerStream: 4, MinPrompts: 12}
	w.step.Prefill = PrefillSweep{ISL: []int{512}, Concurrency: 1, Prompts: 6}
	w.env = &steps.Env{
		Campaign: steps.Campaign{Name: "test", RunID: "run-1"}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Secret: func(name string) (string, error) { return "", fmt.Errorf("no secret %s", name) },
		In: map[string][]steps.Input{
			"server": {{Step: "server", Live: access.Live("")}},
			"setup":  {{Step: "setup", Open: func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}},
		},
		Create: func(name string) (io.WriteCloser, error) {
			w.out[name] = &bytes.Buffer{}
			return closing{w.out[name]}, nil
		},
		Doubt:    func(format string, a ...any) { w.doubts = append(w.doubts, fmt.Sprintf(format, a...)) },
		Progress: func(steps.Progress) {},
	}
	return w
}

func (w *world) run(t *testing.T, ctx context.Context) error {
	t.Helper()
	if err := w.step.Check(); err != nil {
		t.Fatal(err)
	}
	return w.step.Run(ctx, w.env)
}

func (w *world) bundle(t *testing.T) *roofline.Bundle {
	t.Helper()
	b, err := roofline.OpenPacked(bytes.NewReader(w.out[bundleFile].Bytes()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// busy leaves out a failure that says that this machine was too busy to
// measure.
func busy(t *testing.T, err error) error {
	if err != nil && strings.Contains(err.Error(), "client_bound") {
		t.Skipf("this machine was busy: %v", err)
	}
	return err
}

// A sweep of a simulation, imported: the memory traffic that the model predicts
// is a share of the bandwidth near the efficiency that the simulation was told,
// 70 %, less its overhead of 0.2 ms a step.
func TestSweepAndImport(t *testing.T) {
	w := newWorld(t, 1, nil, nil)
	if err := busy(t, w.run(t, t.Context())); err != nil {
		t.Fatal(err)
	}
	b := w.bundle(t)
	var ids []string
	for _, c := range b.Cells {
		ids = append(ids, strings.TrimSpace(c.ID+" "+c.Reason))
	}
	if want := []string{"d-tp1-c001-isl64-osl16-t1", "d-tp1-c008-isl64-osl16-t1", "p-tp1-c001-isl512-osl1-t1"}; !slices.Equal(ids, want) {
		t.Errorf("cells %q, want %q", ids, want)
	}
	m := b.Manifest
	if m.Hardware != "H100" || m.TensorParallel != 1 || m.CacheMode != "cold" || !m.Simulated || m.Model.Shape != "llama-3.1-8b" || len(m.Notes) != 1 {
		t.Errorf("manifest %+v", m)
	}
	if len(w.doubts) != 1 || !strings.HasPrefix(w.doubts[0], "roof_short_osl: ") {
		t.Errorf("doubts %q", w.doubts)
	}

	kind := rooflineimport.Kind()
	step := kind.New().(*rooflineimport.Step)
	step.Hardware, step.TensorParallel, step.CacheMode = "H100", 1, "cold"
	packed := w.out[bundleFile].Bytes()
	w.env.Dir = t.TempDir()
	w.env.In = map[string][]steps.Input{"bundle": {{Step: "sweep", Artifacts: []steps.Artifact{{Name: bundleFile, Digest: digest.Of(packed)}},
		Open: func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }}}}
	if err := step.Run(t.Context(), w.env); err != nil {
		t.Fatal(err)
	}
	sweep, err := roofline.ReadSweep(w.out["roofline.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	grounded := 0
	for _, p := range sweep.Points {
		if p.Analysis == nil || p.Measurement.Status != perf.Full {
			t.Fatalf("%s: %s %s %v", p.Cell, p.NotAnalysed, p.Reason, p.Measurement)
		}
		if p.Measurement.Server == nil || p.Measurement.Server.PrefixHitRate == nil || *p.Measurement.Server.PrefixHitRate != 0 {
			t.Errorf("%s was not cold", p.Cell)
		}
		switch {
		case p.DCGM == nil:
			t.Errorf("%s has no GPU counters: %s", p.Cell, p.NoDCGM)
		case p.DCGM.Rigor == "L3": // of short cells, the longest only
			grounded++
			// Both tell of the same bytes: those that the model predicts for the
			// tokens that came, and those that the simulation moved in its steps.
			if got, want := 100**p.DCGM.DRAM, p.Analysis.HBMPctPred; got < want-8 || got > want+8 {
				t.Errorf("%s: memory was active %.1f%%, and %.1f%% are predicted", p.Cell, got, want)
			}
		}
		if a := p.Analysis; p.Kind == roofline.Decode && (a.HBMPctPred < 55 || a.HBMPctPred > 72) {
			t.Errorf("%s: predicted HBM %.1f%% at a batch of %.1f, %g ms", p.Cell, a.HBMPctPred, a.BEff, a.MeasuredMS)
		} else if p.Kind == roofline.Prefill && (*a.MFU < 0.4 || *a.MFU > 0.72) {
			t.Errorf("%s: MFU %.2f, %g ms", p.Cell, *a.MFU, a.MeasuredMS)
		}
	}
	if grounded == 0 {
		t.Error("no cell has GPU counters of level L3")
	}
}

// broken answers the load with an error, and all else as the server does.
func broken(after int32) func(http.Handler) http.Handler {
	var n atomic.Int32
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "completions") && n.Add(1) > after {
				http.Error(rw, "CUDA out of memory", http.StatusInternalServerError)
				return
			}
			h.ServeHTTP(rw, r)
		})
	}
}

// Cells without an answer are in the bundle with their reason, and after three
// of them the rest is left out.
func TestEndpointLost(t *testing.T) {
	w := newWorld(t, 0.2, broken(0), nil)
	w.step.Decode.Concurrency, w.step.Prefill.ISL, w.step.Attempts = []int{1, 2, 4, 8}, nil, 1
	err := w.run(t, t.Context())
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || !strings.HasPrefix(failed.Reason, "endpoint_lost: 3 cells in a row") || !strings.Contains(failed.Reason, "CUDA out of memory") {
		t.Fatalf("error %v", err)
	}
	b := w.bundle(t)
	if len(b.Cells) != 4 || !b.Cells[0].Has(roofline.BenchFile) || !strings.Contains(b.Cells[3].Reason, "the bundle does not have it") {
		t.Errorf("cells %+v", b.Cells)
	}
}

// A cell that fails once is measured again.
func TestAttempts(t *testing.T) {
	var n atomic.Int32
	w := newWorld(t, 0.2, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "completions") && n.Add(1) <= 12 { // probe and requests of the first attempt
				http.Error(rw, "busy", http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(rw, r)
		})
	}, nil)
	w.step.Decode.Concurrency, w.step.Prefill.ISL, w.step.Attempts = []int{2}, nil, 5
	if err := busy(t, w.run(t, t.Context())); err != nil {
		t.Fatal(err)
	}
	if b := w.bundle(t); b.Cells[0].Reason != "" {
		t.Errorf("cell %+v", b.Cells[0])
	}
}

// A sweep that is cut short keeps what it has.
func TestCutShort(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, 0.2, nil, nil)
	w.env.Progress = func(p steps.Progress) {
		if p.Done == 1 {
			cancel()
		}
	}
	err := w.run(t, ctx)
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || !strings.HasPrefix(failed.Reason, "cut_short: ") {
		t.Fatalf("error %v", err)
	}
	if b := w.bundle(t); len(b.Cells) != 3 || b.Cells[0].Reason != "" || b.Cells[2].Reason == "" {
		t.Errorf("cells %+v", b.Cells)
	}
}

func TestNeedsHardware(t *testing.T) {
	w := newWorld(t, 0.2, nil, map[string]string{})
	if err := w.run(t, t.Context()); !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "does not tell its hardware") {
		t.Errorf("error %v", err)
	}
}

// The lines of dcgmi are stamped as they come, and the import reads them.
func TestDmon(t *testing.T) {
	w := newWorld(t, 0.2, nil, nil)
	w.step.Decode.Concurrency, w.step.Prefill.ISL = []int{2}, nil
	script := `echo '#Entity   GRACT   SMACT'; echo 'ID'; trap 'exit 0' INT; while :; do echo "GPU 0     0.9$((i % 10))   0.80"; i=$((i+1)); sleep 0.05; done`
	w.step.Dmon = Dmon{Capture: true, Command: []string{"sh", "-c", script, "dmon"}, Delay: steps.Duration(100 * time.Millisecond), Fields: []int{1001, 1002}, Host: "gpu-07"}
	began := time.Now()
	if err := busy(t, w.run(t, t.Context())); err != nil {
		t.Fatal(err)
	}
	b := w.bundle(t)
	text, err := b.ReadFile(b.Cells[0], roofline.DmonFile)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := dcgm.ReadDmon(bytes.NewReader(text), dcgm.Dmon{Fields: []dcgm.Field{1001, 1002}})
	if err != nil || !dump.Stamped || dump.Rows < 2 {
		t.Fatalf("%+v, %v\n%s", dump, err, text)
	}
	for _, s := range dump.Samples.Series() {
		if at := time.UnixMilli(s.T[0]); at.Before(began.Truncate(time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("a stamp of %s, of a run from %s", at, began)
		}
	}
	meta, err := b.ReadFile(b.Cells[0], roofline.DmonMetaFile)
	if err != nil || !strings.Contains(string(meta), `-e 1001,1002 -d 100"`) {
		t.Errorf("%s %v", meta, err)
	}
	w.step.Dmon.Command = []string{"/no/such/dcgmi"}
	if err := w.run(t, t.Context()); err == nil || !strings.Contains(err.Error(), "/no/such/dcgmi") {
		t.Errorf("error %v", err)
	}
}

func TestCheck(t *testing.T) {
	for param, change := range map[string]func(*Step){
		"":                   func(*Step) {},
		"decode.concurrency": func(s *Step) { s.Decode.Concurrency, s.Prefill.ISL = nil, nil },
		"prefill.isl":        func(s *Step) { s.Prefill.ISL = []int{8, 16, 8} },
		"dmon.command":       func(s *Step) { s.Dmon.Capture = true },
		"dmon.capture":       func(s *Step) { s.Dmon.Command = []string{"dcgmi"} },
		"dmon.fields":        func(s *Step) { s.Dmon.Capture, s.Dmon.Command, s.Dmon.Fields = true, []string{"dcgmi"}, nil },
		"driver":             func(s *Step) { s.Driver = "ab" },
	} {
		s := Kind(cellrun.Kind()).New().(*Step)
		s.Decode.Concurrency = []int{1, 4}
		change(s)
		err := s.Check()
		var p *steps.ParamError
		if (param == "") != (err == nil) || err != nil && (!errors.As(err, &p) || p.Param != param) {
			t.Errorf("%s: error %v", param, err)
		}
	}
}
