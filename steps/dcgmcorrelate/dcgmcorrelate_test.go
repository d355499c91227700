package dcgmcorrelate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/stepstest"
)

var _ = flag.Bool("update", false, "print what cases write")

func Test(t *testing.T) { stepstest.Run(t, Kind(), os.DirFS("testdata")) }

// A run is one run of the step for a cell.
type run struct {
	step    *Step
	files   map[string][]byte // of the cell
	more    map[string][]byte // of the step at port telemetry
	cell    []steps.Coord
	written map[string]*bytes.Buffer
	doubts  []string
	secrets map[string]string
}

func newRun(m *perf.Measurement) *run {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &run{step: Kind().New().(*Step), files: map[string][]byte{measurementFile: text}, cell: []steps.Coord{{Axis: "concurrency", Value: "64"}}}
}

type sink struct{ *bytes.Buffer }

func (sink) Close() error { return nil }

func input(cell []steps.Coord, files map[string][]byte) steps.Input {
	in := steps.Input{Step: "cells", Cell: cell, Open: func(name string) (io.ReadCloser, error) {
		b, ok := files[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
	for name, b := range files {
		in.Artifacts = append(in.Artifacts, steps.Artifact{Name: name, Digest: digest.Of(b), Size: int64(len(b))})
	}
	return in
}

func (r *run) do(t *testing.T) (*dcgm.Report, error) {
	t.Helper()
	if err := r.step.Check(); err != nil {
		t.Fatal(err)
	}
	r.written, r.doubts = map[string]*bytes.Buffer{}, nil
	env := &steps.Env{
		Campaign: steps.Campaign{Name: "test"}, In: map[string][]steps.Input{"cell": {input(r.cell, r.files)}},
		Create: func(name string) (io.WriteCloser, error) {
			r.written[name] = &bytes.Buffer{}
			return sink{r.written[name]}, nil
		},
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now, Progress: func(steps.Progress) {},
		Doubt: func(format string, a ...any) { r.doubts = append(r.doubts, fmt.Sprintf(format, a...)) },
		Secret: func(name string) (string, error) {
			v, ok := r.secrets[name]
			if !ok {
				return "", fmt.Errorf("the environment has no %s", name)
			}
			return v, nil
		},
		Resolve: func(path string) string { return path },
	}
	if r.more != nil {
		env.In["telemetry"] = []steps.Input{input(r.cell, r.more)}
	}
	err := r.step.Run(context.Background(), env)
	text := r.written[dcgm.ReportFile]
	if text == nil {
		return nil, err
	}
	report, bad := dcgm.ReadReport(text.Bytes())
	if bad != nil {
		t.Fatal(bad)
	}
	return report, err
}

// ok runs and wants no error.
func (r *run) ok(t *testing.T) *dcgm.Report {
	t.Helper()
	report, err := r.do(t)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// keep writes the frozen file and its series into a folder, as a user would.
func (r *run) keep(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{dcgm.FrozenFile, dcgm.SeriesFile} {
		if b := r.written[name]; b != nil {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// measured is a measurement over a window, of which all but two seconds at
// each end are steady.
func measured(from, to time.Time, setting perf.Setting) *perf.Measurement {
	return measuredBut(2*time.Second, from, to, setting)
}

func measuredBut(edge time.Duration, from, to time.Time, setting perf.Setting) *perf.Measurement {
	tps := 1000.0
	steady := to.Sub(from) - 2*edge
	s := perf.Summary{DurationS: steady.Seconds(), Requests: 100, InputTokens: 400_000, OutputTokens: tps * steady.Seconds(), OutputThroughput: &tps}
	if setting == nil {
		setting = perf.Setting{"tp": "4", "pp": "1", "dp": "1", "ceiling_key": "h200_sm90", "node": "gpu-07", "gpu_uuids": perf.Unknown}
	}
	return &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Setting: setting, Start: from.UTC(), End: to.UTC(), Summary: s, Steady: &s,
		Window: &perf.Window{FromNS: int64(edge), ToNS: int64(to.Sub(from) - edge), Method: "all streams busy"},
	}
}

var t0 = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// dump is what a stamped dcgmi dmon shows of GPUs that are busy between two
// times.
func dump(from, to time.Time, gpus int) []byte {
	var b bytes.Buffer
	for i, at := 0, from.Add(-5*time.Second); at.Before(to.Add(5 * time.Second)); i, at = i+1, at.Add(time.Second) {
		if i%14 == 0 {
			fmt.Fprintf(&b, "%d\t#Entity   GRACT        SMACT        TENSO        DRAMA        NVLTX                       NVLRX                       \n%d\tID\n", at.UnixMilli(), at.UnixMilli())
		}
		for g := gpus - 1; g >= 0; g-- {
			busy := 0.0
			if at.After(from) && !at.After(to) {
				busy = 1 - 0.001*float64(i%5)
			}
			if i == 0 {
				fmt.Fprintf(&b, "%d\tGPU %d     N/A          N/A          N/A          N/A          N/A                         N/A                         \n", at.UnixMilli(), g)
				continue
			}
			fmt.Fprintf(&b, "%d\tGPU %d     %-13.3f%-13.3f%-13.3f%-13.3f%-28.0f%-28.0f\n", at.UnixMilli(), g, 0.98*busy, 0.9*busy, 0.2*busy, 0.6*busy, 2e10*busy, 2e10*busy)
		}
	}
	return b.Bytes()
}

func TestDmonDump(t *testing.T) {
	m := measured(t0, t0.Add(60*time.Second), nil)
	path := filepath.Join(t.TempDir(), "dump.txt")
	if err := os.WriteFile(path, dump(t0, t0.Add(60*time.Second), 4), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRun(m)
	r.step.Dmon.File, r.step.CollectInterval = steps.File(path), steps.Duration(time.Second)
	// The dump names no node, and so the setting's cannot select.
	delete(m.Setting, "node")
	r = &run{step: r.step, files: newRun(m).files, cell: r.cell}
	report := r.ok(t)
	if report.Rigor != dcgm.RigorL3 || report.Source.Kind != dcgm.FromDmon || len(report.GPUs) != 4 {
		t.Errorf("rigor %s: %s", report.Rigor, report.Gap)
	}
	if got := report.Mean["dram"].Mean; got < 0.598 || got > 0.6 {
		t.Errorf("memory active %v", got)
	}
	if c, _ := report.Check("DC02"); c.Status != dcgm.Pass {
		t.Errorf("%+v", c)
	}
	// The same dump from a step wired to telemetry.
	r.step.Dmon.File = ""
	r.more = map[string][]byte{dmonFile: dump(t0, t0.Add(60*time.Second), 4)}
	if again := r.ok(t); again.Mean["dram"] != report.Mean["dram"] {
		t.Errorf("%+v, not %+v", again.Mean["dram"], report.Mean["dram"])
	}
	r.more[dmonFile] = nil
	if again, err := r.do(t); again.Rigor != dcgm.RigorNone || err != nil || !strings.Contains(again.Gap, "DC02: telemetry file dmon.tsv is there and empty (0 bytes)") {
		t.Errorf("%v: %s", err, again.Gap)
	}
}

// AIPerf's telemetry has no profiling fields: energy and clocks, but no L3.
func TestAIPerfTelemetry(t *testing.T) {
	text, err := os.ReadFile("../../internal/dcgm/testdata/gpu_telemetry_export.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	from := time.UnixMilli(1762551530946)
	m := measured(from, from.Add(4500*time.Millisecond), perf.Setting{"tp": "1", "pp": "1", "dp": "1", "gpu_uuids": "GPU-ef6ef310-f8e2-cef9-036e-8f12d59b5ffc"})
	m.Window.FromNS, m.Window.ToNS = 0, 3_300_000_000
	r := newRun(m)
	r.step.Telemetry = "../../internal/dcgm/testdata/gpu_telemetry_export.jsonl"
	named := r.ok(t)
	r.step.Telemetry = ""
	r.files[telemetryFile] = text
	report := r.ok(t)
	if named.Mean["power_w"] != report.Mean["power_w"] {
		t.Errorf("named in the spec it reads %+v, of the cell %+v", named.Mean["power_w"], report.Mean["power_w"])
	}
	if report.Rigor != dcgm.RigorNone || !strings.Contains(report.Gap, "DC01: 0 samples for DCGM_FI_PROF_GR_ENGINE_ACTIVE") || !strings.Contains(strings.Join(report.Close, ""), "DCGM_FI_PROF_DRAM_ACTIVE") {
		t.Errorf("rigor %s: %s; %q", report.Rigor, report.Gap, report.Close)
	}
	if report.Source.Kind != dcgm.FromAIPerf || report.Mean["power_w"].Mean < 30 {
		t.Errorf("%+v", report.Mean)
	}
	if len(r.doubts) == 0 || !strings.HasPrefix(r.doubts[0], "no_l3: ") {
		t.Errorf("doubts: %q", r.doubts)
	}
	r.files[telemetryFile] = nil
	if report, _ := r.do(t); !strings.Contains(report.Gap, "gpu_telemetry_export.jsonl is there and empty") {
		t.Errorf("%s", report.Gap)
	}
}

// The frozen file of a cell is found in a folder by what it says, and stands
// for the source.
func TestFrozenInAFolder(t *testing.T) {
	m := measured(t0, t0.Add(60*time.Second), perf.Setting{"tp": "4", "pp": "1", "dp": "1", "ceiling_key": "h200_sm90"})
	dir := t.TempDir()
	var want *dcgm.Report
	for _, c := range []string{"16", "64"} {
		r := newRun(m)
		r.cell[0].Value = c
		r.more = map[string][]byte{dmonFile: dump(t0, t0.Add(60*time.Second), 4)}
		want = r.ok(t)
		r.keep(t, filepath.Join(dir, "cells", "c"+c))
	}
	r := newRun(m)
	r.step.Frozen = steps.File(dir)
	got := r.ok(t)
	if got.FrozenDigest != want.FrozenDigest || got.Rigor != dcgm.RigorL3 || got.Mean["dram"] != want.Mean["dram"] {
		t.Errorf("from the folder: %s %s, want %s", got.Rigor, got.FrozenDigest, want.FrozenDigest)
	}
	if _, sum, err := dcgm.ReadFrozen("x", r.written[dcgm.FrozenFile].Bytes(), nil); err != nil || sum.String() != want.FrozenDigest {
		t.Errorf("what is kept of it: %v", err)
	}
	r.cell[0].Value = "32"
	if got, err := r.do(t); err != nil || got.Quality != dcgm.QualityNone || !strings.Contains(got.Gap, "is of cell concurrency=32") {
		t.Errorf("%v: %+v", err, got)
	}
	r.step.Frozen = steps.File(filepath.Join(dir, "cells", "c16", dcgm.FrozenFile))
	r.cell[0].Value = "64"
	if _, err := r.do(t); !errors.Is(err, dcgm.ErrOtherCell) || !errors.Is(err, steps.ErrPermanent) {
		t.Errorf("another cell's file: %v", err)
	}
	longer := measured(t0.Add(-time.Minute), t0.Add(60*time.Second), m.Setting)
	r = newRun(longer)
	r.step.Frozen = steps.File(dir)
	if _, err := r.do(t); !errors.Is(err, dcgm.ErrWindow) {
		t.Errorf("a longer window: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "copy.yaml"), []byte("cell_id: \"concurrency=64\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.do(t); err == nil || !strings.Contains(err.Error(), "2 files are of cell concurrency=64") {
		t.Errorf("two files of one cell: %v", err)
	}
}

func TestWithoutAWindow(t *testing.T) {
	m := measured(t0, t0.Add(8*time.Second), nil)
	m.Window, m.Steady = nil, nil
	r := newRun(m)
	if report := r.ok(t); !strings.Contains(report.Gap, "too short to cut 5 s off both ends") || len(r.doubts) != 1 || !strings.HasPrefix(r.doubts[0], "no_dcgm: ") {
		t.Errorf("%s; %q", report.Gap, r.doubts)
	}
	m.Start, m.End = time.Time{}, time.Time{}
	if report, _ := newRun(m).do(t); !strings.Contains(report.Gap, "does not tell when it ran") {
		t.Errorf("%s", report.Gap)
	}
}

// A server that is not there is a gap, and asked again.
func TestPrometheusIsNotThere(t *testing.T) {
	r := newRun(measured(t0, t0.Add(60*time.Second), nil))
	r.step.Prometheus = &Prometheus{URL: "http://127.0.0.1:1"}
	report, err := r.do(t)
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || !strings.Contains(report.Gap, "Prometheus at 127.0.0.1:1: ask for its time") || report.Source.Host != "127.0.0.1:1" {
		t.Errorf("%v: %s", err, report.Gap)
	}
	r.step.Prometheus.TokenEnv = "NO_SUCH"
	if _, err := r.do(t); !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "prometheus.token_env: the environment has no NO_SUCH") {
		t.Errorf("%v", err)
	}
}
