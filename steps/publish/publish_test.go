package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/publish"
	"pipeline/steps/stepstest"
)

// memory is a lake in memory: the current rows of each table and campaign, and
// their sources. The kind may not know the real one, whose tests are its own.
type memory map[string]current

type current struct {
	rows   []perf.Row
	source digest.Digest
}

func (m memory) Publish(_ context.Context, schema *perf.Schema, campaign string, rows []perf.Row, source digest.Digest) (perf.Revision, error) {
	sum, err := perf.RowsDigest(schema, rows)
	m[schema.Name+"/"+campaign] = current{rows, source}
	return perf.Revision{Table: schema.Name, Path: schema.Name + "/campaign=" + campaign + "/" + sum.String() + ".parquet", Digest: sum, Rows: len(rows)}, err
}

func (m memory) Holds(schema *perf.Schema, campaign string, source digest.Digest) (bool, error) {
	have, ok := m[schema.Name+"/"+campaign]
	return ok && have.source == source, nil
}

type world struct {
	*testing.T
	lakes     map[string]memory
	env       *steps.Env
	published bytes.Buffer
	doubts    []string
}

type file struct{ io.Writer }

func (file) Close() error { return nil }

func newWorld(t *testing.T, rows []perf.Row) *world {
	t.Helper()
	w := &world{T: t, lakes: map[string]memory{}}
	text, err := perf.EncodeRows(perf.Atlas(), rows)
	if err != nil {
		t.Fatal(err)
	}
	made, err := report.Render(report.Input{Title: "t", Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	status, err := made.Status.JSON()
	if err != nil {
		t.Fatal(err)
	}
	w.env = &steps.Env{
		Campaign: steps.Campaign{Name: "glm", Focus: "throughput", RunID: "run-1", Home: "/home", Spec: "s.yaml", Labels: map[string]string{"owner": "ann"}, SpecSum: digest.Of([]byte("spec"))},
		In: map[string][]steps.Input{
			"atlas":  {input("atlas", map[string][]byte{"atlas.json": text, "atlas.parquet": []byte("x")})},
			"report": {input("report", map[string][]byte{"report_status.json": status, "report.html": made.HTML})},
		},
		Create:  func(string) (io.WriteCloser, error) { w.published.Reset(); return file{&w.published}, nil },
		Dir:     t.TempDir(),
		Log:     slog.New(slog.DiscardHandler),
		Doubt:   func(format string, a ...any) { w.doubts = append(w.doubts, fmt.Sprintf(format, a...)) },
		Now:     func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) },
		Resolve: func(path string) string { return filepath.Join("/spec", path) },
	}
	return w
}

func input(step string, artifacts map[string][]byte) steps.Input {
	in := steps.Input{Step: step, Open: func(name string) (io.ReadCloser, error) {
		b, ok := artifacts[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
	for name, b := range artifacts {
		in.Artifacts = append(in.Artifacts, steps.Artifact{Name: name, Digest: digest.Of(b)})
	}
	return in
}

func (w *world) step(change func(*publish.Step)) *publish.Step {
	kind := publish.Kind(func(dir string) publish.Sink {
		if w.lakes[dir] == nil {
			w.lakes[dir] = memory{}
		}
		return w.lakes[dir]
	})
	s := kind.New().(*publish.Step)
	if change != nil {
		change(s)
	}
	return s
}

func (w *world) run() {
	w.Helper()
	if err := w.step(nil).Run(w.Context(), w.env); err != nil {
		w.Fatal(err)
	}
}

func (w *world) landed() bool {
	w.Helper()
	env := *w.env
	env.Now = nil // it must need no clock
	ok, err := w.step(nil).Landed(w.Context(), &env)
	if err != nil {
		w.Fatal(err)
	}
	return ok
}

func rows(change func(*perf.Measurement)) []perf.Row {
	p := func(v float64) *float64 { return &v }
	dist := &perf.Dist{N: 2, Mean: 20, Min: 20, P50: 20, P90: 20, P95: 20, P99: 20, Max: 20}
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Simulated: true, Start: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		Setting: perf.Setting{"model": "m", "hardware": "B200", "quant": "fp8", "engine": "vllm-sim"}, Driver: perf.Driver{Name: "native"},
		Asked: perf.Workload{Concurrency: 4}, Doubts: []string{"a doubt"},
		Summary: perf.Summary{Requests: 8, RequestThroughput: p(2), OutputThroughput: p(100), TTFT: dist},
	}
	if change != nil {
		change(m)
	}
	return []perf.Row{perf.RowOf(perf.Origin{Cell: []perf.Coord{{Axis: "concurrency", Value: "4"}}, Source: "measurement.json"}, m)}
}

func TestPublish(t *testing.T) {
	w := newWorld(t, rows(nil))
	w.run()
	lake := w.lakes["/home/lake"]
	atlas, campaign := lake["atlas_v1/glm"].rows, lake["campaign_v1/glm"].rows
	if len(atlas) != 1 || len(campaign) != 1 {
		t.Fatalf("%d rows of atlas_v1, %d of campaign_v1", len(atlas), len(campaign))
	}
	if sim, ok := atlas[0].Bool("simulated"); !sim || !ok || atlas[0].Text("campaign") != "glm" || atlas[0].Text("focus") != "throughput" {
		t.Errorf("the row is of campaign %q, focus %q, simulated %t", atlas[0].Text("campaign"), atlas[0].Text("focus"), sim)
	}
	c := campaign[0]
	for column, want := range map[string]string{"campaign": "glm", "focus": "throughput", "owner": "ann", "verdict_tier": "draft", "sol_rigor": "none", "run_id": "run-1"} {
		if got := c.Text(column); got != want {
			t.Errorf("%s = %q, want %q", column, got, want)
		}
	}
	if complete, ok := c.Bool("sol_complete"); complete || !ok {
		t.Error("sol_complete without a Speed-of-Light page")
	}
	if n, _ := c.Int("cells_full"); n != 1 || !strings.Contains(c.Text("sol_missing"), `"page":"4"`) || !slices.Equal(c.List("models"), []string{"m"}) || !slices.Equal(c.List("warnings"), []string{"a doubt", "tok/s/GPU is not computed: gpu_count is unknown, and cannot be worked out without tp, pp and dp"}) {
		t.Errorf("cells_full %d, models %q, warnings %q, sol_missing %s", n, c.List("models"), c.List("warnings"), c.Text("sol_missing"))
	}
	if c.Time("created_at").Hour() != 10 || c.Time("published_at").Hour() != 12 {
		t.Errorf("created %v, published %v", c.Time("created_at"), c.Time("published_at"))
	}
	var out publish.Published
	if err := json.Unmarshal(w.published.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Revisions) != 2 || !out.Simulated || len(out.Gaps) != 0 || !strings.HasPrefix(out.Revisions[0].Path, "atlas_v1/campaign=glm/") {
		t.Errorf("published.json is %+v", out)
	}
	if len(w.doubts) != 2 || !strings.HasPrefix(w.doubts[0], "published as a draft: it fails V00, V01") || !strings.Contains(w.doubts[1], "leaves out page 3 (Pareto), page 4") {
		t.Errorf("doubts are %q", w.doubts)
	}
}

func TestLanded(t *testing.T) {
	w := newWorld(t, rows(nil))
	if w.landed() {
		t.Error("what was never published has landed")
	}
	w.run()
	if !w.landed() {
		t.Error("what was published has not landed")
	}
	first := w.published.String()
	w.env.Now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
	w.env.Campaign.RunID, w.env.Campaign.SpecSum = "run-2", digest.Of([]byte("a comment more"))
	if !w.landed() {
		t.Error("another run, or a comment in the spec, is another publication")
	}
	w.run()
	if w.published.String() != first {
		t.Errorf("publishing again says otherwise:\n%s\n%s", first, w.published.String())
	}
	for name, change := range map[string]func(*steps.Env){
		"focus": func(e *steps.Env) { e.Campaign.Focus = "latency" },
		"label": func(e *steps.Env) { e.Campaign.Labels = map[string]string{"owner": "bob"} },
		"atlas": func(e *steps.Env) {
			e.In = map[string][]steps.Input{"atlas": {input("atlas", map[string][]byte{"atlas.json": []byte("{}")})}, "report": e.In["report"]}
		},
		"report": func(e *steps.Env) {
			e.In = map[string][]steps.Input{"atlas": e.In["atlas"], "report": {{Gap: "failed"}}}
		},
	} {
		env := *w.env
		change(&env)
		if ok, err := w.step(nil).Landed(t.Context(), &env); ok || err != nil {
			t.Errorf("another %s has landed: %v", name, err)
		}
	}
	w.env.Campaign.Name = "renamed"
	if w.landed() {
		t.Error("a renamed campaign has landed")
	}
	w.env.Campaign.Name = "glm"
	delete(w.lakes["/home/lake"], "campaign_v1/glm")
	if w.landed() {
		t.Error("what was deleted has landed")
	}
}

func TestGaps(t *testing.T) {
	failed := rows(func(m *perf.Measurement) { m.Status, m.Failure = perf.Failed, "out of memory" })
	w := newWorld(t, failed)
	w.env.In["report"] = []steps.Input{{Step: "report", Gap: "skipped: atlas failed"}}
	strict := w.step(func(s *publish.Step) { s.Strict = true })
	err := strict.Run(t.Context(), w.env)
	if err == nil || !errors.Is(err, steps.ErrPermanent) || !strings.Contains(err.Error(), "strict: 2 gaps and a draft, nothing was published: cell concurrency=4 is FAILED: out of memory; there is no report: skipped: atlas failed") {
		t.Errorf("strict: %v", err)
	}
	if len(w.lakes["/home/lake"]) != 0 {
		t.Error("strict published")
	}
	w.run()
	c := w.lakes["/home/lake"]["campaign_v1/glm"].rows[0]
	if want := []string{"cell concurrency=4 is FAILED: out of memory", "there is no report: skipped: atlas failed"}; !slices.Equal(c.List("gaps"), want) {
		t.Errorf("gaps are %q, want %q", c.List("gaps"), want)
	}
	if c.Text("verdict_tier") != "draft" || !strings.Contains(c.Text("verdict_refusals"), `"code":"V08"`) || !strings.Contains(w.lakes["/home/lake"]["atlas_v1/glm"].rows[0].Text("verdict_refusals"), `"code":"V08"`) {
		t.Errorf("the tier is %s for %s", c.Text("verdict_tier"), c.Text("verdict_refusals"))
	}
	if n, _ := c.Int("cells_failed"); n != 1 || !c.IsNull("report_sha256") {
		t.Errorf("cells_failed %d, report_sha256 %q", n, c.Text("report_sha256"))
	}
	if len(w.doubts) != 3 {
		t.Errorf("doubts are %q", w.doubts)
	}
	delete(w.env.In, "report")
	if w.run(); !strings.Contains(w.doubts[4], "wire a render step") {
		t.Errorf("doubts are %q", w.doubts)
	}
}

// A measured row must say whether it is simulated; a cell that was never
// measured cannot.
func TestSimulatedMustBeSaid(t *testing.T) {
	unmarked := rows(nil)
	unmarked[0].Clear("simulated")
	w := newWorld(t, unmarked)
	if err := w.step(nil).Run(t.Context(), w.env); err == nil || !strings.Contains(err.Error(), "row concurrency=4 is not marked as simulated or real") {
		t.Errorf("an unmarked row: %v", err)
	}
	gap := perf.RowOfGap(perf.Origin{Cell: []perf.Coord{{Axis: "concurrency", Value: "4"}}, Gap: "skipped"})
	newWorld(t, append(rows(nil), gap)).run()
}

func TestLakeDir(t *testing.T) {
	w := newWorld(t, rows(nil))
	if err := w.step(func(s *publish.Step) { s.LakeDir = "../shared" }).Run(t.Context(), w.env); err != nil {
		t.Fatal(err)
	}
	if len(w.lakes["/shared"]) != 2 {
		t.Errorf("lakes are %v", w.lakes)
	}
}

func TestContract(t *testing.T) {
	stepstest.Run(t, publish.Kind(func(string) publish.Sink { return memory{} }), os.DirFS("testdata"))
}
