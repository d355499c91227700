package zymtracequery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/internal/profile"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/stepstest"
)

func TestContract(t *testing.T) { stepstest.Check(t, Kind()) }

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

// A world is one run against a database that answers one text after another.
type world struct {
	step   *Step
	env    *steps.Env
	asked  []string // the SQL of each question
	wrote  map[string]*bytes.Buffer
	doubts []string
}

func newWorld(t *testing.T, m *perf.Measurement, answers ...string) *world {
	t.Helper()
	w := &world{step: Kind().New().(*Step), wrote: map[string]*bytes.Buffer{}}
	database := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		sql, _ := io.ReadAll(r.Body)
		if user := r.Header.Get("X-ClickHouse-User"); user != "" {
			sql = append(sql, " as "+user...)
		}
		w.asked = append(w.asked, string(sql))
		fmt.Fprint(rw, "kernel\tsamples\n"+answers[min(len(w.asked), len(answers))-1])
	}))
	t.Cleanup(database.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "q.sql"), []byte("{from_unix}-{to_unix} FORMAT TSVWithNames"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.step.URL, w.step.SQL, w.step.Wait, w.step.Poll = database.URL, "q.sql", steps.Duration(time.Minute), steps.Duration(time.Millisecond)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	w.env = &steps.Env{
		Log: slog.New(slog.DiscardHandler),
		In: map[string][]steps.Input{"cell": {{Step: "cells", Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(text)), nil
		}}}},
		Create: func(name string) (io.WriteCloser, error) {
			w.wrote[name] = &bytes.Buffer{}
			return file{w.wrote[name]}, nil
		},
		Doubt:   func(format string, a ...any) { w.doubts = append(w.doubts, fmt.Sprintf(format, a...)) },
		Secret:  func(name string) (string, error) { return "the-" + strings.ToLower(name), nil },
		Resolve: func(path string) string { return filepath.Join(dir, path) },
	}
	return w
}

func measured() *perf.Measurement {
	start := time.Unix(1_795_342_500, 0).UTC()
	return &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Setting: perf.Setting{"model": "m"}, Start: start, End: start.Add(time.Minute),
		Steady: &perf.Summary{}, Window: &perf.Window{FromNS: 10e9, ToNS: 50e9, Method: "test"},
	}
}

func (w *world) profile(t *testing.T) *profile.Profile {
	t.Helper()
	p, err := profile.Read(w.wrote["profile.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWaitsForSamples(t *testing.T) {
	w := newWorld(t, measured(), "", "fused_moe\t3\n", "fused_moe\t3\nnccl\t1\n", "fused_moe\t3\nnccl\t1\n")
	w.step.UserEnv, w.step.PasswordEnv = "USER", "PASSWORD"
	if err := w.step.Run(t.Context(), w.env); err != nil {
		t.Fatal(err)
	}
	if len(w.asked) != 4 || w.asked[0] != "1795342510-1795342550 FORMAT TSVWithNames as the-user" {
		t.Errorf("asked %q: want the steady window four times", w.asked)
	}
	p := w.profile(t)
	if p.Rigor() != profile.L1 || p.GPUTime.Total != 4 || p.GPUTime.Categories[0].Share != 0.75 || len(w.doubts) != 0 {
		t.Errorf("profile %+v, doubts %q", p.GPUTime, w.doubts)
	}
}

// A measurement without a steady window is asked for as a whole.
func TestWholeRun(t *testing.T) {
	m := measured()
	m.Window, m.Steady = nil, nil
	w := newWorld(t, m, "a\t1\n")
	if err := w.step.Run(t.Context(), w.env); err != nil || w.asked[0] != "1795342500-1795342560 FORMAT TSVWithNames" {
		t.Errorf("asked %q, error %v", w.asked, err)
	}
}

// What never came is a gap: a part, which the next run asks for again.
func TestGap(t *testing.T) {
	w := newWorld(t, measured(), "")
	w.step.Wait = 0
	var failed *steps.Failed
	if err := w.step.Run(t.Context(), w.env); !errors.As(err, &failed) || !failed.Partial || failed.Final || !strings.Contains(failed.Reason, "has no sample from 2026-11-22T10:15:10Z") {
		t.Errorf("error %v", err)
	}
	if p := w.profile(t); p.Rigor() != "" || len(p.Gaps) != 1 {
		t.Errorf("profile %+v", p)
	}
}

func TestStillGrowing(t *testing.T) {
	w := newWorld(t, measured(), "a\t1\n")
	w.step.Wait = 0
	if err := w.step.Run(t.Context(), w.env); err != nil || len(w.doubts) != 1 || !strings.HasPrefix(w.doubts[0], "profile_growing: ") {
		t.Errorf("doubts %q, error %v", w.doubts, err)
	}
}

func TestCheck(t *testing.T) {
	for param, change := range map[string]func(*Step){
		"":         func(s *Step) { s.URL = "http://127.0.0.1:8123" },
		"url":      func(s *Step) { s.URL = "http://u:p@h" },
		"rules":    func(s *Step) { s.Rules = []profile.Rule{{Category: "a"}} },
		"user_env": func(s *Step) { s.PasswordEnv = "P" },
	} {
		s := Kind().New().(*Step)
		change(s)
		err := s.Check()
		var p *steps.ParamError
		if (param == "") != (err == nil) || err != nil && (!errors.As(err, &p) || p.Param != param) {
			t.Errorf("%s: error %v", param, err)
		}
	}
}
