package cellrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/internal/tool"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// What the server of the fidelity benchmark does with each request.
const (
	truthTTFT   = 100 * time.Millisecond
	truthEvery  = 20 * time.Millisecond
	truthTokens = 100
	truthRounds = 3 // requests a stream
)

// A truth is a server that knows when it got a request and when it wrote each
// of its tokens.
type truth struct {
	mu       sync.Mutex
	requests []truthRequest
}

type truthRequest struct{ got, first, last time.Time }

// A Told is what the truth server tells of the requests it had.
type Told struct {
	Requests                           int
	TTFTP50, TTFTP99, TPOTP50, TPOTP99 float64 // ms
	From, To                           time.Time
	InFlight                           float64 // mean over the middle half of the span
}

func (s *truth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/models":
		fmt.Fprint(w, `{"object":"list","data":[{"id":"truth","object":"model","max_model_len":100000}]}`)
	case r.URL.Path == "/health":
		fmt.Fprint(w, "ok")
	case r.URL.Path == "/truth":
		_ = json.NewEncoder(w).Encode(s.told())
	case strings.HasSuffix(r.URL.Path, "/completions"):
		s.answer(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *truth) answer(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Max    int  `json:"max_tokens"`
		Stream bool `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got := time.Now()
	if !asked.Stream { // a look before the load
		fmt.Fprint(w, `{"choices":[{"index":0,"text":" a","finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":1}}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	line := []byte("data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"truth\",\"choices\":[{\"index\":0,\"text\":\" token\",\"finish_reason\":null}]}\n\n")
	n := cmp.Or(asked.Max, truthTokens)
	t := truthRequest{got: got}
	tick := time.NewTimer(time.Until(got.Add(truthTTFT)))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		tick.Reset(time.Until(got.Add(truthTTFT + time.Duration(i+1)*truthEvery)))
		now := time.Now()
		if _, err := w.Write(line); err != nil || flush.Flush() != nil {
			return
		}
		if i == 0 {
			t.first = now
		}
		t.last = now
	}
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\ndata: [DONE]\n\n", n, n+8)
	if n == truthTokens { // others are looks before the load
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, t)
	}
}

func (s *truth) told() Told {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Told{Requests: len(s.requests)}
	if out.Requests == 0 {
		return out
	}
	var ttft, tpot []float64
	out.From, out.To = s.requests[0].got, s.requests[0].last
	for _, r := range s.requests {
		ttft = append(ttft, float64(r.first.Sub(r.got))/1e6)
		tpot = append(tpot, float64(r.last.Sub(r.first))/1e6/(truthTokens-1))
		if r.got.Before(out.From) {
			out.From = r.got
		}
		if r.last.After(out.To) {
			out.To = r.last
		}
	}
	slices.Sort(ttft)
	slices.Sort(tpot)
	out.TTFTP50, out.TTFTP99 = perf.Percentile(ttft, 50), perf.Percentile(ttft, 99)
	out.TPOTP50, out.TPOTP99 = perf.Percentile(tpot, 50), perf.Percentile(tpot, 99)
	span := out.To.Sub(out.From)
	from, to := out.From.Add(span/4), out.To.Add(-span/4)
	var busy time.Duration
	for _, r := range s.requests {
		begin, end := r.got, r.last
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		busy += max(0, end.Sub(begin))
	}
	out.InFlight = busy.Seconds() / to.Sub(from).Seconds()
	return out
}

// seen is what a generator says of the load.
type seen struct {
	requests, errors                   int
	ttftP50, ttftP99, tpotP50, tpotP99 float64
	cpu                                float64 // seconds, over the load
	bound                              string
}

// BenchmarkDrivers holds load generators against a server that knows better, at
// concurrencies up to beyond what they can do on this machine: how far their
// TTFT and their time a token are off, in the middle and at the 99th
// percentile; the CPU time they need for a thousand tokens; and how many
// streams they really held, of those asked. Server and generator share the
// machine.
func BenchmarkDrivers(b *testing.B) {
	generators := []struct {
		name string
		run  func(b *testing.B, url string, streams int) (seen, error)
	}{
		{"native", fidelityCell(native, "")},
		{"aiperf", fidelityCell(aiperfName, realparts.AIPerf(b))},
		{"guidellm", fidelityGuideLLM},
	}
	for _, streams := range []int{1, 16, 64, 256, 1024} {
		for _, g := range generators {
			b.Run(fmt.Sprintf("%s/streams=%d", g.name, streams), func(b *testing.B) {
				url := startServer(b, asTruth)
				for b.Loop() {
					saw, err := g.run(b, url, streams)
					if err != nil {
						b.Fatal(err)
					}
					report(b, url, streams, saw)
				}
			})
		}
	}
}

func report(b *testing.B, url string, streams int, saw seen) {
	b.Helper()
	told, err := askTruth(url)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(saw.ttftP50-told.TTFTP50, "ttft-p50-off-ms")
	b.ReportMetric(saw.ttftP99-told.TTFTP99, "ttft-p99-off-ms")
	b.ReportMetric(saw.tpotP50-told.TPOTP50, "tpot-p50-off-ms")
	b.ReportMetric(saw.tpotP99-told.TPOTP99, "tpot-p99-off-ms")
	b.ReportMetric(1000*saw.cpu/float64(told.Requests*truthTokens), "cpu-s/1k-tokens")
	b.ReportMetric(100*told.InFlight/float64(streams), "held-%")
	b.ReportMetric(float64(truthRounds*streams-saw.requests), "lost")
	if saw.bound != "" {
		b.Logf("says of itself: %s", saw.bound)
	}
}

func askTruth(url string) (Told, error) {
	resp, err := http.Get(url + "/truth")
	if err != nil {
		return Told{}, err
	}
	defer resp.Body.Close()
	var told Told
	return told, json.NewDecoder(resp.Body).Decode(&told)
}

// fidelityCell measures with a driver of this package.
func fidelityCell(driver, path string) func(b *testing.B, url string, streams int) (seen, error) {
	return func(b *testing.B, url string, streams int) (seen, error) {
		cell := newBench(b, http.NotFoundHandler())
		s := cell.step
		s.Driver, s.AIPerf.Path, s.API = driver, path, "completions"
		s.Concurrency, s.NumPrompts, s.Warmup, s.ISL, s.OSL = streams, truthRounds*streams, 0, 8, truthTokens
		tokenizer := filepath.Join(b.TempDir(), "tokenizer")
		if err := vllmsim.WriteTokenizer(tokenizer); err != nil {
			return seen{}, err
		}
		if driver == aiperfName {
			s.AIPerf.TokenizerDir = steps.File(tokenizer)
		}
		cell.setup(b, endpoint.Access{URL: url}, nil)
		m, err := cell.run(b)
		var failed *steps.Failed
		if err != nil && !errors.As(err, &failed) {
			return seen{}, err
		}
		out := seen{requests: m.Summary.Requests, errors: m.Summary.Errors, bound: strings.Join(m.Reasons, "; ")}
		if m.Summary.TTFT == nil || m.Summary.TPOT == nil || m.Client == nil {
			return out, fmt.Errorf("%s: %s", m.Status, out.bound)
		}
		out.ttftP50, out.ttftP99, out.tpotP50, out.tpotP99 = m.Summary.TTFT.P50, m.Summary.TTFT.P99, m.Summary.TPOT.P50, m.Summary.TPOT.P99
		out.cpu = *m.Client.CPUShare * float64(runtime.NumCPU()) * m.Summary.DurationS
		return out, nil
	}
}

// fidelityGuideLLM measures with guidellm.
func fidelityGuideLLM(b *testing.B, url string, streams int) (seen, error) {
	python, script := realparts.GuideLLMRun(b)
	dir := b.TempDir()
	tokenizer, result := filepath.Join(dir, "tokenizer"), filepath.Join(dir, "result.json")
	if err := vllmsim.WriteTokenizer(tokenizer); err != nil {
		return seen{}, err
	}
	r := tool.Run{Path: python, Dir: dir, Grace: time.Second, Limit: 10 * time.Minute, Args: []string{script, "run",
		"--backend", "kind=openai_http,target=" + url + ",model=truth,request_format=/v1/completions",
		"--profile", "kind=concurrent,streams=" + strconv.Itoa(streams), "--constraint", "kind=max_requests,count=" + strconv.Itoa(truthRounds*streams),
		"--data", "kind=synthetic_text,prompt_tokens=8,output_tokens=" + strconv.Itoa(truthTokens),
		"--tokenizer", "kind=huggingface_auto,model=" + tokenizer, "--output", "kind=json,path=" + result, "--disable-console"}}
	end, err := r.Do(context.Background())
	if err != nil {
		return seen{}, err
	}
	text, err := os.ReadFile(result)
	if err != nil {
		return seen{}, fmt.Errorf("%w; cut %v, exit code %d, it says: %s", err, end.Cut, end.Code, end.Tail)
	}
	type values struct {
		Successful struct {
			Median      float64
			Percentiles struct{ P99 float64 }
		}
	}
	var report struct {
		Benchmarks []struct {
			Metrics struct {
				Totals struct{ Successful, Errored int } `json:"request_totals"`
				TTFT   values                            `json:"time_to_first_token_ms"`
				ITL    values                            `json:"inter_token_latency_ms"` // a value a request: our TPOT
			}
		}
	}
	if err := json.Unmarshal(text, &report); err != nil || len(report.Benchmarks) != 1 {
		return seen{}, fmt.Errorf("%d benchmarks: %w", len(report.Benchmarks), err)
	}
	told, err := askTruth(url)
	if err != nil {
		return seen{}, err
	}
	m := report.Benchmarks[0].Metrics
	all, _, ok := end.Usage.Between(told.From, told.To)
	if !ok {
		return seen{}, errors.New("how much CPU time guidellm used is not known")
	}
	return seen{requests: m.Totals.Successful, errors: m.Totals.Errored,
		ttftP50: m.TTFT.Successful.Median, ttftP99: m.TTFT.Successful.Percentiles.P99,
		tpotP50: m.ITL.Successful.Median, tpotP99: m.ITL.Successful.Percentiles.P99,
		cpu: all * float64(runtime.NumCPU()) * told.To.Sub(told.From).Seconds()}, nil
}
