package campaigninit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/vllmsim"
	"pipeline/steps"
)

func simConfig() vllmsim.Config {
	c := vllmsim.Defaults()
	c.Model, c.ModelShape, c.TensorParallelSize = "meta-llama/Llama-3.1-8B", "llama-3.1-8b", 1
	return c
}

func simulate(t *testing.T, c vllmsim.Config) string {
	t.Helper()
	sim, err := vllmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() { sim.Close(); server.Close() })
	return server.URL
}

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

type outcome struct {
	files  map[string]*bytes.Buffer
	doubts []string
	err    error
}

func run(step *Step, live steps.Live) outcome {
	out := outcome{files: map[string]*bytes.Buffer{}}
	env := &steps.Env{
		In:      map[string][]steps.Input{"server": {{Step: "server", Live: live}}},
		Now:     func() time.Time { return time.Unix(1764000000, 0) },
		Secret:  func(name string) (string, error) { return "s3cret", nil },
		Resolve: func(path string) string { return path },
		Doubt:   func(format string, a ...any) { out.doubts = append(out.doubts, fmt.Sprintf(format, a...)) },
		Create: func(name string) (io.WriteCloser, error) {
			out.files[name] = &bytes.Buffer{}
			return file{out.files[name]}, nil
		},
	}
	out.err = step.Run(context.Background(), env)
	return out
}

func newStep() *Step {
	s := Kind().New().(*Step)
	s.Model.Name, s.Model.Shape, s.Hardware, s.TensorParallel = "meta-llama/Llama-3.1-8B", "llama-3.1-8b", "b200_sm100", 1
	s.ReadyTimeout = 0
	return s
}

func TestSameServerElsewhereIsTheSameIdentity(t *testing.T) {
	a := run(newStep(), steps.Live{"url": simulate(t, simConfig())})
	b := run(newStep(), steps.Live{"url": simulate(t, simConfig())})
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	if x, y := a.files[identityFile].String(), b.files[identityFile].String(); x != y {
		t.Errorf("identities differ:\n%s\n%s", x, y)
	}
	if x, y := a.files[observedFile].String(), b.files[observedFile].String(); x == y {
		t.Errorf("two servers were observed alike: %s", x)
	}
	if want := []string{"identity: the endpoint does not tell, and the spec does not declare: async_scheduling, cuda, cudagraph_mode, driver, gpu_type, image_digest, model_revision"}; !slices.Equal(a.doubts, want) {
		t.Errorf("doubts %q, want %q", a.doubts, want)
	}
	var o observed
	if err := json.Unmarshal(a.files[observedFile].Bytes(), &o); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(o.URL, "http://127.0.0.1:") || o.Time.Unix() != 1764000000 || !strings.HasPrefix(o.Answers["GET /version"], "HTTP 200") {
		t.Errorf("observed %+v", o)
	}
}

func TestOtherArgumentsDifferInThatField(t *testing.T) {
	conf := simConfig()
	a := run(newStep(), steps.Live{"url": simulate(t, conf)})
	conf.MaxNumSeqs = 256
	b := run(newStep(), steps.Live{"url": simulate(t, conf)})
	x, err1 := endpoint.ParseIdentity(a.files[identityFile].Bytes())
	y, err2 := endpoint.ParseIdentity(b.files[identityFile].Bytes())
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if got := endpoint.Diff(x, y); len(got) != 1 || got[0].String() != "max_num_seqs was 1024 and is 256" {
		t.Errorf("differ in %v", got)
	}
}

func TestMismatch(t *testing.T) {
	url := simulate(t, simConfig())
	step := newStep()
	step.TensorParallel, step.Args.MaxNumSeqs, step.Hardware = 8, 256, "h100_sm90"
	out := run(step, steps.Live{"url": url})
	if !errors.Is(out.err, steps.ErrPermanent) || len(out.files) != 0 {
		t.Fatalf("error %v, files %v", out.err, out.files)
	}
	for _, want := range []string{
		"tp is declared as 8, but GET /server_info?config_format=json says 1", "max_num_seqs is declared as 256",
		"ceiling_key is declared as h100_sm90, but GET /metrics says b200_sm100", "allow_mismatch",
	} {
		if !strings.Contains(out.err.Error(), want) {
			t.Errorf("error %q has no %q", out.err, want)
		}
	}
	step.AllowMismatch = true
	out = run(step, steps.Live{"url": url})
	if out.err != nil || !slices.ContainsFunc(out.doubts, func(d string) bool { return strings.HasPrefix(d, "mismatch: tp is declared as 8") }) {
		t.Errorf("error %v, doubts %q", out.err, out.doubts)
	}
	id, err := endpoint.ParseIdentity(out.files[identityFile].Bytes())
	if err != nil || id.Value(endpoint.TP) != "1" {
		t.Errorf("tp %s, want what is there (%v)", id.Value(endpoint.TP), err)
	}
	if m := id.Mismatches(); len(m) != 5 || m[4].Field != endpoint.TP || m[4].Declared != "8" || m[4].Observed != "1" {
		t.Errorf("the identity keeps the mismatches %v", m)
	}
}

func TestDeclaredFillsTheUnknown(t *testing.T) {
	step := newStep()
	step.Declare = map[string]string{endpoint.ImageDigest: "sha256:1", endpoint.ModelRevision: "9f2c"}
	out := run(step, steps.Live{"url": simulate(t, simConfig())})
	id, err := endpoint.ParseIdentity(out.files[identityFile].Bytes())
	if err != nil || id.Value(endpoint.ImageDigest) != "sha256:1" || id.Sources[endpoint.ImageDigest] != endpoint.Declared {
		t.Errorf("%v: %+v", err, id)
	}
	if strings.Contains(out.doubts[0], "image_digest") {
		t.Errorf("doubt %q", out.doubts[0])
	}
}

func TestErrors(t *testing.T) {
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer locked.Close()
	for _, c := range []struct {
		name      string
		live      steps.Live
		permanent bool
		unseen    bool
		want      string
	}{
		{"unreachable", steps.Live{"url": "http://127.0.0.1:1"}, false, true, "GET http://127.0.0.1:1/v1/models tried"},
		{"no address", steps.Live{}, false, false, "offers no url"},
		{"refused", steps.Live{"url": locked.URL}, true, false, "HTTP 403"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := run(newStep(), c.live)
			if out.err == nil || !strings.Contains(out.err.Error(), c.want) || errors.Is(out.err, steps.ErrPermanent) != c.permanent {
				t.Errorf("error %v", out.err)
			}
			if errors.Is(out.err, steps.ErrUnreachable) != c.unseen {
				t.Errorf("error %v: nothing was seen: %v", out.err, !c.unseen)
			}
		})
	}
}

// An endpoint that tells nothing but its model's name is seen in part, and
// looking again would show no more.
func TestUnresolvedIsFinal(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/models" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"object":"list","data":[{"id":"meta-llama/Llama-3.1-8B","object":"model"}]}`)
	}))
	defer silent.Close()
	out := run(newStep(), steps.Live{"url": silent.URL})
	var failed *steps.Failed
	if !errors.As(out.err, &failed) || !failed.Partial || !failed.Final || !strings.HasPrefix(failed.Reason, "identity_unresolved") {
		t.Errorf("error %v", out.err)
	}
	if out.files[identityFile] == nil {
		t.Error("what was seen is not written")
	}
}

func TestKeyStaysOut(t *testing.T) {
	conf := simConfig()
	conf.APIKey = "s3cret"
	out := run(newStep(), steps.Live{"url": simulate(t, conf), "api_key_env": "KEY"})
	if out.err != nil {
		t.Fatal(out.err)
	}
	for name, text := range out.files {
		if strings.Contains(text.String(), "s3cret") {
			t.Errorf("the key is in %s", name)
		}
	}
}

func TestCheck(t *testing.T) {
	step := newStep()
	if err := step.Check(); err != nil {
		t.Error(err)
	}
	step.Declare = map[string]string{"tpp": "8"}
	var p *steps.ParamError
	if err := step.Check(); !errors.As(err, &p) || p.Param != "declare.tpp" {
		t.Errorf("error %v", err)
	}
}
