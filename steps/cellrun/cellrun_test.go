package cellrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

func simConfig() vllmsim.Config {
	c := vllmsim.Defaults()
	c.Model, c.ModelShape, c.TensorParallelSize, c.TimeScale = "meta-llama/Llama-3.1-8B", "llama-3.1-8b", 1, 0.2
	return c
}

// A bench is one cell on a test's endpoint.
type bench struct {
	step    *Step
	env     *steps.Env
	handler atomic.Value // http.Handler, which a test may change under the load
	url     string

	mu      sync.Mutex
	written map[string]*bytes.Buffer
	doubts  []string
	said    []steps.Progress
}

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

type handler struct{ http.Handler } // one concrete type for atomic.Value

func newBench(t testing.TB, h http.Handler) *bench {
	t.Helper()
	b := &bench{written: map[string]*bytes.Buffer{}}
	b.handler.Store(handler{h})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.handler.Load().(handler).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.step = Kind().New().(*Step)
	b.step.Concurrency, b.step.NumPrompts, b.step.Warmup, b.step.ISL, b.step.OSL = 4, 40, 2, 64, 16
	b.step.ScrapeInterval = steps.Duration(20 * time.Millisecond)
	b.env = &steps.Env{
		Campaign: steps.Campaign{RunID: "run-1", Home: filepath.Join(t.TempDir(), "home")},
		Dir:      t.TempDir(),
		Resolve:  func(path string) string { return path },
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:      time.Now,
		Secret:   func(name string) (string, error) { return "", fmt.Errorf("no secret %s", name) },
		Create: func(name string) (io.WriteCloser, error) {
			b.written[name] = &bytes.Buffer{}
			return file{b.written[name]}, nil
		},
		Doubt: func(format string, a ...any) { b.doubts = append(b.doubts, fmt.Sprintf(format, a...)) },
		Progress: func(p steps.Progress) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.said = append(b.said, p)
		},
	}
	return b
}

func newSim(t *testing.T, c vllmsim.Config) *vllmsim.Server {
	t.Helper()
	sim, err := vllmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// setup does what the kind init does.
func (b *bench) setup(t testing.TB, access endpoint.Access, declared map[string]string) {
	t.Helper()
	if access.URL == "" {
		access.URL = b.url
	}
	client, err := endpoint.NewClient(access)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	obs, err := endpoint.Probe(context.Background(), client, endpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	obs.Identity.Declare(declared)
	text, err := obs.Identity.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	b.env.In = map[string][]steps.Input{
		"server": {{Step: "server", Live: access.Live("")}},
		"setup": {{Step: "setup", Open: func(name string) (io.ReadCloser, error) {
			if name != identityFile {
				return nil, fmt.Errorf("no artifact %s", name)
			}
			return io.NopCloser(bytes.NewReader(text)), nil
		}}},
	}
}

func (b *bench) run(t testing.TB) (perf.Measurement, error) {
	t.Helper()
	b.step.Complete()
	if err := b.step.Check(); err != nil {
		t.Fatal(err)
	}
	err := b.step.Run(context.Background(), b.env)
	var m perf.Measurement
	if text := b.written[measurementFile]; text != nil {
		if err := json.Unmarshal(text.Bytes(), &m); err != nil {
			t.Fatalf("%s: %v", measurementFile, err)
		}
	}
	return m, err
}

func has(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}

func TestMeasureSimulation(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, map[string]string{endpoint.ImageDigest: "sha256:1"})
	m, err := b.run(t)
	// The client shares two cores with the server here, so that it may be the
	// bound; every other reason would be a fault.
	var failed *steps.Failed
	if err != nil && !(errors.As(err, &failed) && failed.Partial && strings.HasPrefix(failed.Reason, "client_bound")) {
		t.Fatal(err)
	}
	if m.Schema != perf.MeasurementSchema || !m.Simulated || m.Driver.Name != "native" || m.Start.IsZero() || !m.End.After(m.Start) {
		t.Errorf("measurement %+v", m)
	}
	if m.Summary.Requests != 40 || m.Summary.Errors != 0 || m.Summary.OutputTokens != 40*16 || m.Summary.TTFT == nil || m.Summary.RequestThroughput == nil {
		t.Errorf("summary %+v", m.Summary)
	}
	if m.Client == nil || m.Client.WakeP99ms == nil || *m.Client.WakeP99ms <= 0 {
		t.Errorf("client %+v", m.Client)
	}
	// The server's counts, warm-up apart, are the client's.
	if s := m.Server; s == nil || *s.RequestsOK != 40 || *s.GenerationTokens != 40*16 || s.Samples == 0 {
		t.Errorf("server %+v", m.Server)
	}
	for _, doubt := range []string{"counts_differ", "foreign_traffic", "not_cold", "cache_not_reset", "no_metrics"} {
		if has(m.Doubts, doubt) {
			t.Errorf("doubt %s in %q", doubt, m.Doubts)
		}
	}
	if !slices.Equal(m.Doubts, b.doubts) {
		t.Errorf("doubts told %q, written %q", b.doubts, m.Doubts)
	}
	b.checkRequests(t, 42)
	b.checkProgress(t)
}

func (b *bench) checkRequests(t *testing.T, want int) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(b.written[requestsFile].String()) {
		var r perf.Request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.ChunkNS != nil || !r.OK() || r.OSL != 16 {
			t.Errorf("request %s", line)
		}
		lines++
	}
	if lines != want {
		t.Errorf("%d requests are written, want %d", lines, want)
	}
}

func (b *bench) checkProgress(t *testing.T) {
	t.Helper()
	if len(b.said) == 0 {
		t.Fatal("no progress was told")
	}
	var phases []string
	for _, p := range b.said {
		if p.Phase != "" {
			phases = append(phases, p.Phase)
		}
	}
	if got := strings.Join(phases, ", "); got != "pre metrics, run, monitor, post metrics, download" {
		t.Errorf("phases %s", got)
	}
	last := b.said[len(b.said)-1]
	if last.Done != 40 || last.Total != 40 || last.Unit != "requests" || !strings.Contains(last.Text, "tok/s") {
		t.Errorf("last progress %+v", last)
	}
}

func TestSettingIsComplete(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, map[string]string{endpoint.ImageDigest: "sha256:1", "args.moe_backend": "x"})
	b.step.SLO.TTFTms, b.step.Trial = 250, 3
	m, _ := b.run(t)
	for _, name := range perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace) {
		if _, ok := m.Setting[name]; !ok && name != "focus" {
			t.Errorf("the setting has no %s", name)
		}
	}
	for name, want := range map[string]string{
		"model": "meta-llama/Llama-3.1-8B", "model_hf_path": "meta-llama/Llama-3.1-8B", "hardware": "B200", "ceiling_key": "b200_sm100",
		"tp": "1", "parallel_strategy": "tp1", "max_num_seqs": "1024", "image_digest": "sha256:1", "isl": "64", "osl": "16", "concurrency": "4",
		"arrival": "closed", "request_rate": "", "cache_mode": "cold", "trial": "3", "slo": `{"ttft_ms":250}`, "bench_backend": "native",
		"dcp": "unknown", "node": "unknown", "temperature": "", "turns": "1", "multi_turn": "false",
	} {
		if got := m.Setting[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(m.Setting["serve_args"], `"moe_backend":"x"`) || m.Setting["dataset_digest"] == "unknown" {
		t.Errorf("serve_args %s, dataset_digest %s", m.Setting["serve_args"], m.Setting["dataset_digest"])
	}
	// What the setting says fits the columns of the atlas.
	if row := perf.RowOf(perf.Origin{Source: measurementFile}, &m); has(row.List("doubts"), "the column is NULL") {
		t.Errorf("doubts of the row: %q", row.List("doubts"))
	}
}

// fails runs the cell and wants a Failed with this in its reason.
func (b *bench) fails(t *testing.T, partial bool, want string) perf.Measurement {
	t.Helper()
	m, err := b.run(t)
	var failed *steps.Failed
	if !errors.As(err, &failed) || failed.Partial != partial || !strings.Contains(failed.Reason, want) {
		t.Fatalf("error %v (%+v), want Failed with %q, partial %v", err, failed, want, partial)
	}
	status := perf.Failed
	if partial {
		status = perf.Partial
	}
	if m.Status != status {
		t.Errorf("status %s, want %s", m.Status, status)
	}
	return m
}

func TestEndpointIsAnotherThanSetupSaw(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, nil)
	other := simConfig()
	other.MaxNumSeqs = 8
	b.handler.Store(handler{newSim(t, other)})
	m, err := b.run(t)
	var failed *steps.Failed
	if !errors.As(err, &failed) || failed.Partial || !failed.Final || !strings.Contains(failed.Reason, "endpoint_changed: max_num_seqs was 1024 and is 8") {
		t.Fatalf("error %v (%+v)", err, failed)
	}
	if m.Summary.Requests != 0 || m.Setting["max_num_seqs"] != "1024" {
		t.Errorf("measured %+v", m.Summary)
	}
}

// switchAfter hands over to another server after some generation requests.
type switchAfter struct {
	http.Handler
	requests atomic.Int32
	at       int32
	to       func()
}

func (s *switchAfter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/completions") && s.requests.Add(1) == s.at {
		s.to()
	}
	s.Handler.ServeHTTP(w, r)
}

func TestEndpointChangesUnderTheLoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*vllmsim.Config)
		want   string
	}{
		{"another argument", func(c *vllmsim.Config) { c.MaxNumSeqs = 8 }, "endpoint_changed: max_num_seqs was 1024 and is 8"},
		{"a restart", func(*vllmsim.Config) {}, "endpoint_changed: the server was restarted during the load"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := simConfig()
			first := &switchAfter{Handler: newSim(t, conf), at: 20}
			c.change(&conf)
			second := newSim(t, conf)
			b := newBench(t, first)
			first.to = func() { b.handler.Store(handler{second}) }
			b.setup(t, endpoint.Access{}, nil)
			m := b.fails(t, false, c.want)
			// The numbers stay, as evidence.
			if m.Summary.Requests == 0 || b.written[requestsFile] == nil {
				t.Errorf("the requests were not kept: %+v", m.Summary)
			}
		})
	}
}

func TestEndpointDiesUnderTheLoad(t *testing.T) {
	log := filepath.Join(t.TempDir(), "server.log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conf := simConfig()
	conf.Log = f
	conf.Faults.CrashAfter = 10
	b := newBench(t, newSim(t, conf))
	b.setup(t, endpoint.Access{Log: log}, nil)
	m := b.fails(t, true, "errors")
	if !strings.Contains(m.Failure, "illegal memory access") {
		t.Errorf("root cause %q", m.Failure)
	}
}

func TestUnreachableEndpointIsAnError(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, nil)
	b.step.ReadyTimeout = 0
	b.env.In["server"][0].Live["url"] = "http://127.0.0.1:1"
	m, err := b.run(t)
	var failed *steps.Failed
	if err == nil || errors.As(err, &failed) || !errors.Is(err, endpoint.ErrNotReady) || m.Schema != "" {
		t.Errorf("error %v, measurement %+v", err, m)
	}
}

func TestErrorsMakeItPartial(t *testing.T) {
	conf := simConfig()
	conf.Faults.ErrorRate = 0.3
	b := newBench(t, newSim(t, conf))
	b.setup(t, endpoint.Access{}, nil)
	b.fails(t, true, "errors:")
}

func TestOpenLoopWithErrors(t *testing.T) {
	conf := simConfig()
	conf.Faults.ErrorRate = 0.5
	b := newBench(t, newSim(t, conf))
	b.step.Concurrency, b.step.RequestRate, b.step.SLO.TTFTms = 0, 200, 1000
	b.setup(t, endpoint.Access{}, nil)
	m := b.fails(t, true, "errors:")
	if m.Asked.Arrival != perf.Poisson || m.Setting["request_rate"] != "200" || m.Setting["concurrency"] != "" || m.Summary.Goodput == nil {
		t.Errorf("asked %+v, summary %+v", m.Asked, m.Summary)
	}
}

func TestConversations(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.step.Turns, b.step.SharedPrefix = 4, 32
	b.setup(t, endpoint.Access{}, nil)
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if m.Summary.Requests != 40 || m.Server == nil || *m.Server.PrefixHitRate < 0.2 || m.Setting["multi_turn"] != "true" {
		t.Errorf("summary %+v, server %+v", m.Summary, m.Server)
	}
}

func TestNothingAnsweredIsFailed(t *testing.T) {
	conf := simConfig()
	conf.Faults.ErrorRate = 1
	b := newBench(t, newSim(t, conf))
	b.setup(t, endpoint.Access{}, nil)
	if m := b.fails(t, false, "500"); m.Failure == "" {
		t.Error("no root cause")
	}
}

// A server without /metrics, /tokenize, /version and usage is measured all the
// same, with doubts.
func TestQuirksAreDoubts(t *testing.T) {
	conf := simConfig()
	conf.Faults.NoMetrics, conf.Faults.NoTokenize, conf.Faults.NoUsage = true, true, true
	sim := newSim(t, conf)
	b := newBench(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/version", "/server_info", "/reset_prefix_cache":
			http.NotFound(w, r)
		default:
			sim.ServeHTTP(w, r)
		}
	}))
	b.setup(t, endpoint.Access{}, nil)
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	for _, want := range []string{"no_metrics", "cache_not_reset", "chunk_tokens"} {
		if !has(m.Doubts, want) {
			t.Errorf("no doubt %s in %q", want, m.Doubts)
		}
	}
	if m.Server != nil || m.Summary.Requests != 40 || m.Setting["engine_version"] != "unknown" || m.Setting["tp"] != "unknown" {
		t.Errorf("server %v, summary %+v", m.Server, m.Summary)
	}
}

func TestForeignTrafficIsADoubt(t *testing.T) {
	sim := newSim(t, simConfig())
	// Every request is sent to the server twice.
	b := newBench(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/completions") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			sim.ServeHTTP(httptest.NewRecorder(), again)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		sim.ServeHTTP(w, r)
	}))
	b.setup(t, endpoint.Access{}, nil)
	if m, _ := b.run(t); !has(m.Doubts, "counts_differ") {
		t.Errorf("doubts %q", m.Doubts)
	}
}

func TestColdAndWarm(t *testing.T) {
	sim := newSim(t, simConfig())
	rates := map[string][]float64{}
	for _, regime := range []string{cold, cold, warm, warm} {
		b := newBench(t, sim)
		b.step.CacheRegime, b.step.Warmup = regime, 0
		b.step.ISL = 256 // 16 blocks
		b.setup(t, endpoint.Access{}, nil)
		m, _ := b.run(t)
		if m.Server == nil || m.Server.PrefixHitRate == nil {
			t.Fatalf("%s: no hit rate: %+v, %q", regime, m.Server, m.Doubts)
		}
		rates[regime] = append(rates[regime], *m.Server.PrefixHitRate)
		if doubted := has(m.Doubts, "not_warm:"); doubted != (regime == warm && len(rates[warm]) == 1) {
			t.Errorf("%s, %v: doubts %q", regime, rates, m.Doubts)
		}
	}
	// Without the server's counters the usage tells; without both, nothing does.
	for _, usage := range []bool{true, false} {
		conf := simConfig()
		conf.Faults.NoMetrics, conf.Faults.NoUsage = true, !usage
		b := newBench(t, newSim(t, conf))
		b.step.CacheRegime = warm
		b.setup(t, endpoint.Access{}, nil)
		m, _ := b.run(t)
		if want := map[bool]string{true: "not_warm:", false: "warm_unknown:"}[usage]; !has(m.Doubts, want) {
			t.Errorf("usage %v: no doubt %s in %q", usage, want, m.Doubts)
		}
	}
	const template = perf.ColdTokens / 256.0
	if rates[cold][0] > template || rates[cold][1] > template {
		t.Errorf("cold cells found %v of their prompts in the cache", rates[cold])
	}
	// The second warm cell has the prompts of the first.
	if rates[warm][0] > template || rates[warm][1] < 0.9 {
		t.Errorf("warm cells found %v of their prompts in the cache", rates[warm])
	}
}

func TestSecretsStayOut(t *testing.T) {
	conf := simConfig()
	conf.APIKey = "s3cret"
	b := newBench(t, newSim(t, conf))
	var log bytes.Buffer
	b.env.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.setup(t, endpoint.Access{APIKey: "s3cret"}, nil)
	b.env.In["server"][0].Live["api_key_env"] = "KEY"
	b.env.Secret = func(name string) (string, error) { return map[string]string{"KEY": "s3cret"}[name], nil }
	if m, err := b.run(t); m.Summary.Requests != 40 {
		t.Fatalf("%v: %+v", err, m)
	}
	for name, text := range b.written {
		if strings.Contains(text.String(), "s3cret") {
			t.Errorf("the key is in %s", name)
		}
	}
	if strings.Contains(log.String()+fmt.Sprint(b.doubts, b.said), "s3cret") {
		t.Error("the key is in the log")
	}
}

// What was measured when a time-out or the user ended the cell stays, as a part.
func TestCutShortKeepsWhatWasMeasured(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	b := newBench(t, &switchAfter{Handler: newSim(t, simConfig()), at: 30, to: func() { cancel(errors.New("it took longer than its time-out of 1s")) }})
	b.setup(t, endpoint.Access{}, nil)
	err := b.step.Run(ctx, b.env)
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || failed.Final || !strings.HasPrefix(failed.Reason, "cut_short: it took longer than its time-out of 1s; incomplete: ") {
		t.Fatalf("error %v (%+v)", err, failed)
	}
	var m perf.Measurement
	if err := json.Unmarshal(b.written[measurementFile].Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	if m.Status != perf.Partial || m.Summary.Requests == 0 || m.Summary.Requests >= 40 || m.Summary.Errors != 0 || m.Summary.TTFT == nil {
		t.Errorf("%s %q, summary %+v", m.Status, m.Reasons, m.Summary)
	}
	b.checkRequests(t, m.Summary.Requests+2)
}

func TestCancelledBeforeTheLoadWritesNothing(t *testing.T) {
	for _, at := range []int32{1, 2} { // the probe, the warm-up
		ctx, cancel := context.WithCancel(context.Background())
		b := newBench(t, &switchAfter{Handler: newSim(t, simConfig()), at: at, to: cancel})
		b.setup(t, endpoint.Access{}, nil)
		if err := b.step.Run(ctx, b.env); !errors.Is(err, context.Canceled) || len(b.written) != 0 {
			t.Errorf("request %d: error %v, written %v", at, err, b.written)
		}
	}
}

// A retry is of no use where the endpoint would answer the same again.
func TestFinal(t *testing.T) {
	for _, c := range []struct {
		reasons []string
		want    bool
	}{
		{nil, false},
		{[]string{"osl_short: x"}, true},
		{[]string{"one_token: x", "osl_short: y"}, true},
		{[]string{"osl_short: x", "client_bound: y"}, true},
		{[]string{"client_bound: x"}, false},
		{[]string{"errors: x", "osl_short: y"}, false},
		{[]string{"osl_short: x", "endpoint_lost: y"}, false},
		{[]string{"cut_short: x", "osl_short: y"}, false},
		{[]string{"endpoint_changed: tp was 1 and is 4 (since setup looked)"}, true},
		{[]string{"endpoint_changed: tp was 1 and is 4"}, false},
	} {
		if got := final(&perf.Measurement{Reasons: c.reasons}); got != c.want {
			t.Errorf("%q: %v", c.reasons, got)
		}
	}
}

// An endpoint without ignore_eos that answers short does so every time.
func TestShortAnswersAreFinal(t *testing.T) {
	sim := newSim(t, simConfig())
	b := newBench(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/completions") {
			var body map[string]any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			body["max_tokens"], body["min_tokens"] = 8, 0
			text, err := json.Marshal(body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(text))
		}
		sim.ServeHTTP(w, r)
	}))
	b.setup(t, endpoint.Access{}, nil)
	_, err := b.run(t)
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || !failed.Final || !strings.Contains(failed.Reason, "osl_short") {
		t.Errorf("error %v (%+v)", err, failed)
	}
}

func TestWrongInputs(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{}, nil)
	whole := b.env.In
	for name, in := range map[string]map[string][]steps.Input{
		"no server":      {"setup": whole["setup"]},
		"two setups":     {"server": whole["server"], "setup": append(whole["setup"], whole["setup"]...)},
		"not an address": {"server": {{Step: "x"}}, "setup": whole["setup"]},
		"not an identity": {"server": whole["server"], "setup": {{Step: "x", Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("{}")), nil
		}}}},
	} {
		b.env.In = in
		if err := b.step.Run(context.Background(), b.env); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		param  string
		change func(*Step)
	}{
		{"", func(s *Step) { s.Concurrency = 8 }},
		{"", func(s *Step) { s.RequestRate = 2.5 }},
		{"", func(s *Step) { s.Concurrency, s.NumPrompts = 64, 16 }}, // a doubt of the result, and no error
		{"concurrency", func(*Step) {}},
		{"concurrency", func(s *Step) { s.Concurrency, s.RequestRate = 8, 2 }},
		{"arrival", func(s *Step) { s.Concurrency, s.Arrival = 8, "poisson" }},
		{"arrival", func(s *Step) { s.RequestRate, s.Arrival = 8, "closed" }},
		{"max_in_flight", func(s *Step) { s.Concurrency, s.MaxInFlight = 8, 2 }},
		{"ramp_up", func(s *Step) { s.RequestRate, s.RampUp = 8, 2 }},
		{"shared_prefix", func(s *Step) { s.Concurrency, s.SharedPrefix = 8, s.ISL+1 }},
		{"slo.ttft_ms", func(s *Step) { s.Concurrency, s.SLO = 8, SLO{TTFTms: 10, E2Ems: 5} }},
		{"stall_timeout", func(s *Step) { s.Concurrency, s.StallTimeout = 8, s.RequestTimeout+1 }},
		{"keep_chunks", func(s *Step) { s.Concurrency, s.KeepRequests, s.KeepChunks = 8, false, true }},
	} {
		step := Kind().New().(*Step)
		c.change(step)
		err := step.Check()
		var p *steps.ParamError
		if (c.param == "") != (err == nil) || (err != nil && (!errors.As(err, &p) || p.Param != c.param)) {
			t.Errorf("%s: error %v", c.param, err)
		}
	}
}

// What is made in memory has a limit, so that a slip of the pen is refused.
func TestSizesAreLimited(t *testing.T) {
	params, err := steps.ParamsOf(Kind().New())
	if err != nil {
		t.Fatal(err)
	}
	limited := 0
	for _, p := range params {
		if p.Name == "isl" || p.Name == "num_prompts" {
			limited++
			if p.Max != "10000000" {
				t.Errorf("%s may be up to %q", p.Name, p.Max)
			}
		}
	}
	if limited != 2 {
		t.Errorf("%d of isl and num_prompts are there", limited)
	}
}

func TestWorkload(t *testing.T) {
	step := Kind().New().(*Step)
	step.RequestRate, step.MaxInFlight, step.Seed, step.Trial = 2, 9, 1, 3
	w := step.workload()
	if w.Arrival != perf.Poisson || w.Concurrency != 9 || w.Seed != 1<<20+3 {
		t.Errorf("workload %+v", w)
	}
	step.RequestRate, step.MaxInFlight, step.Concurrency = 0, 0, 7
	if w = step.workload(); w.Arrival != perf.Closed || w.Concurrency != 7 {
		t.Errorf("workload %+v", w)
	}
}
