package render_test

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/render"
	"pipeline/steps/stepstest"
)

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

func run(t *testing.T, step *render.Step, atlas ...string) (map[string]*bytes.Buffer, error) {
	t.Helper()
	out := map[string]*bytes.Buffer{}
	env := &steps.Env{
		Campaign: steps.Campaign{Name: "not-in-the-key"}, Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(),
		Create: func(name string) (io.WriteCloser, error) {
			out[name] = &bytes.Buffer{}
			return file{out[name]}, nil
		},
		In: map[string][]steps.Input{},
	}
	for _, text := range atlas {
		env.In["atlas"] = append(env.In["atlas"], steps.Input{Step: "atlas", Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
	}
	return out, step.Run(t.Context(), env)
}

func atlas(t *testing.T, c string) string {
	t.Helper()
	row := perf.RowOfGap(perf.Origin{Cell: []perf.Coord{{Axis: "concurrency", Value: c}}, Gap: "failed: refused"})
	text, err := perf.EncodeRows(perf.Atlas(), []perf.Row{row})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestContract(t *testing.T) { stepstest.Run(t, render.Kind(), os.DirFS("testdata")) }

func TestRender(t *testing.T) {
	out, err := run(t, &render.Step{Title: "A title", Intent: "An intent"}, atlas(t, "4"), atlas(t, "8"))
	if err != nil {
		t.Fatal(err)
	}
	page := out["report.html"].String()
	for _, want := range []string{"A title", "An intent", "concurrency=4", "concurrency=8", "failed: refused"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if strings.Contains(page, "not-in-the-key") {
		t.Error("the page holds the campaign's name, which is in no key of a Pure step")
	}
	status, err := report.ReadStatus(out["report_status.json"].Bytes())
	if err != nil || status.Cells.Missing != 2 || status.Title != "A title" {
		t.Errorf("status %+v: %v", status, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	if _, err := run(t, &render.Step{Title: "t"}, `{"schema":"atlas_v1","rows":[{"x":1}]}`); err == nil || !strings.Contains(err.Error(), `read atlas.json of step atlas: rows of atlas_v1: row 1: atlas_v1 has no column "x"`) {
		t.Errorf("a bad atlas: %v", err)
	}
	if _, err := run(t, &render.Step{Title: "t"}); err == nil || !strings.Contains(err.Error(), "there are none") {
		t.Errorf("no atlas: %v", err)
	}
	if err := new(render.Step).Check(); err == nil || !strings.Contains(err.Error(), "title") {
		t.Errorf("an empty title: %v", err)
	}
}
