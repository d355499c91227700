package cellrun

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// asServer makes the test binary the simulated endpoint: a generator that
// shares a process with its server measures the collector of both.
const asServer = "CELLRUN_TEST_SERVER"

func TestMain(m *testing.M) {
	if what := os.Getenv(asServer); what != "" {
		if err := serve(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The servers that the test binary can be.
const (
	asSim   = "simulation"
	asTruth = "truth"
)

// paced is a simulation that answers as a large model does: the first token
// after tens of milliseconds, then one every ten or so.
func paced() vllmsim.Config {
	c := simConfig()
	c.TimeScale = 4
	return c
}

// serve serves until standard input ends.
func serve(what string) error {
	var h http.Handler = &truth{}
	if what == asSim {
		c := paced()
		c.APIKey = os.Getenv(simKey)
		sim, err := vllmsim.New(c)
		if err != nil {
			return err
		}
		defer sim.Close()
		h = sim
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go http.Serve(l, h)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// simKey is the variable with the key that the simulation wants.
const simKey = "CELLRUN_TEST_KEY"

// startServer starts one of the servers in a process of its own.
func startServer(t testing.TB, what string, env ...string) (url string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), asServer+"="+what), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr)
}

// An agreement is what two drivers may differ by: a share of the first's
// figure, or an absolute difference that a busy machine makes alone.
type agreement struct {
	figure     string
	share, abs float64
}

// within reports what of the figures is beyond the limits.
func within(x *perf.CrossCheck, limits []agreement) (beyond []string) {
	for _, l := range limits {
		i := slices.IndexFunc(x.Figures, func(f perf.Agreement) bool { return f.Name == l.figure })
		if i < 0 {
			beyond = append(beyond, l.figure+" is not there")
			continue
		}
		if f := x.Figures[i]; math.Abs(f.Differ) > l.share && math.Abs(f.Second-f.First) > l.abs {
			beyond = append(beyond, fmt.Sprintf("%s: %.4g and %.4g (%+.1f%%)", l.figure, f.First, f.Second, 100*f.Differ))
		}
	}
	return beyond
}

// tries are how often a cell is measured at most. A try counts if neither
// generator wanted for CPU: what else runs on this machine starves them, and
// their figures are of that then.
const tries = 3

// starved says which generator of a try wanted for CPU, "" if none did.
func starved(m *perf.Measurement) string {
	for _, by := range []struct {
		name string
		said []string
	}{{m.Driver.Name, slices.Concat(m.Reasons, m.Doubts)}, {m.CrossCheck.Driver.Name, slices.Concat(m.CrossCheck.Reasons, m.CrossCheck.Doubts)}} {
		for _, code := range []string{"client_bound", "client_starved", "client_lag", "cpu_steal"} {
			if has(by.said, code) {
				return by.name + ": " + code
			}
		}
	}
	return ""
}

// agree measures a cell with two drivers, and wants their figures within the
// limits: in one try that counts, or else in none of them. Counts of tokens hang
// on no CPU, and must agree in each try, starved or not.
func agree(t *testing.T, make func() *bench, limits []agreement) {
	t.Helper()
	isCount := func(l agreement) bool { return strings.HasSuffix(l.figure, "_tokens_mean") }
	counts := slices.DeleteFunc(slices.Clone(limits), func(l agreement) bool { return !isCount(l) })
	var disagreed []string
	for try := 1; try <= tries; try++ {
		b := make()
		m, err := b.run(t)
		var failed *steps.Failed
		if err != nil && !(errors.As(err, &failed) && failed.Partial && strings.HasPrefix(failed.Reason, "client_bound")) {
			t.Fatal(err)
		}
		x := m.CrossCheck
		if x == nil || x.Status == perf.Failed {
			t.Fatalf("cross-check %+v", x)
		}
		if b.written[artifactsFile].Len() == 0 || x.Evidence == nil || len(x.Evidence.Artifacts) == 0 || len(x.Driver.Command) == 0 {
			t.Errorf("no evidence of %s: %+v", x.Driver.Name, x.Evidence)
		}
		t.Logf("try %d, %s window: %s %q; %s %s %q\n%+v", try, x.Span, m.Status, m.Reasons, x.Driver.Name, x.Status, x.Reasons, x.Figures)
		if beyond := within(x, counts); len(beyond) > 0 {
			t.Fatalf("%s and %s do not count alike: %s", m.Driver.Name, x.Driver.Name, strings.Join(beyond, "; "))
		}
		beyond := within(x, limits)
		if len(beyond) == 0 {
			return
		}
		if why := starved(&m); why != "" {
			t.Logf("try %d does not count: %s", try, why)
			continue
		}
		disagreed = append(disagreed, m.Driver.Name+" and "+x.Driver.Name+": "+strings.Join(beyond, "; "))
	}
	if len(disagreed) == 0 {
		t.Logf("other processes had the CPU in all %d tries: the times were not compared", tries)
		return
	}
	t.Errorf("in each try that counts, %d of %d, they do not agree:\n%s", len(disagreed), tries, strings.Join(disagreed, "\n"))
}

// What wants for CPU is told apart from what disagrees.
func TestStarved(t *testing.T) {
	m := &perf.Measurement{Driver: perf.Driver{Name: native}, CrossCheck: &perf.CrossCheck{Driver: perf.Driver{Name: aiperfName}}}
	if got := starved(m); got != "" {
		t.Errorf("nobody: %q", got)
	}
	m.Doubts, m.CrossCheck.Doubts = []string{"drivers_differ: x", "image: x"}, []string{"summary_differs: x"}
	if got := starved(m); got != "" {
		t.Errorf("they only differ: %q", got)
	}
	m.CrossCheck.Reasons = []string{"client_bound: one process"}
	if got := starved(m); got != "aiperf: client_bound" {
		t.Errorf("AIPerf has no CPU left: %q", got)
	}
	m.Doubts = append(m.Doubts, "client_starved: late")
	if got := starved(m); got != "native: client_starved" {
		t.Errorf("native came late: %q", got)
	}
}

// AIPerf and the native driver see the same of the same endpoint.
//
//   - TTFT: 15%, or 5 ms, on one stream. On several 50%: there it hangs
//     on how many prompts share a prefill step. Both count to the first content; AIPerf takes the time
//     when its event loop comes to the chunk, native when the bytes are read.
//   - TPOT: 5%, or 0.5 ms. Of times between chunks the loop's lateness cancels.
//   - Output throughput: 10%. It takes AIPerf some milliseconds to send the next
//     request, and few prompts make the edges weigh.
//   - Output tokens: none. Both take the server's count of what they asked.
//   - Input tokens: 2% on the simulation, whose own tokenizer AIPerf has; native
//     counts the chat template as well. guidellm's server has a tokenizer that
//     is nowhere to be had, so AIPerf makes prompts of other lengths there.
//
// The streams start one after another: requests that a tool sends at one instant
// are prefilled in one step, so that their TTFT is long and their TPOT short,
// and another tool's come a little apart. That is a difference of the load, and
// not of the clock.
func TestDriversAgree(t *testing.T) {
	path := realparts.AIPerf(t)
	sim, mock := startServer(t, asSim), realparts.GuideLLMMock(t, "--ttft-ms", "60", "--itl-ms", "12")
	tokenizer := filepath.Join(t.TempDir(), "tokenizer")
	if err := vllmsim.WriteTokenizer(tokenizer); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url   string
		concurrency int
		isl         float64
	}{
		{"simulation", sim, 1, 0.02}, {"simulation", sim, 4, 0.02}, {"simulation", sim, 16, 0.02},
		{"guidellm mock-server", mock, 1, 0.2}, {"guidellm mock-server", mock, 8, 0.2},
	} {
		t.Run(fmt.Sprintf("%s at %d", c.name, c.concurrency), func(t *testing.T) {
			ttft := 0.15
			if c.concurrency > 1 {
				ttft = 0.5
			}
			agree(t, func() *bench {
				b := newBench(t, http.NotFoundHandler())
				b.step.CrossCheck, b.step.AIPerf.Path, b.step.AIPerf.TokenizerDir = aiperfName, path, steps.File(tokenizer)
				b.step.Concurrency, b.step.NumPrompts, b.step.Warmup = c.concurrency, max(8, 5*c.concurrency), c.concurrency
				b.step.ISL, b.step.OSL = 256, 32
				if c.concurrency > 1 {
					b.step.RampUp = steps.Duration(500 * time.Millisecond) // about an answer: no two streams are in step
				}
				b.setup(t, endpoint.Access{URL: c.url}, nil)
				return b
			}, []agreement{{"ttft_ms_median", ttft, 5}, {"tpot_ms_median", 0.05, 0.5}, {"output_tps", 0.1, 0}, {"output_tokens_mean", 0, 0}, {"input_tokens_mean", c.isl, 0}})
		})
	}
}

// vllm bench serve and the native driver see the same, but for one figure: of
// chat answers the tool takes the first event for the first token, so it is
// asked for completions.
func TestVLLMBenchAgrees(t *testing.T) {
	path, sim := realparts.VLLM(t), startServer(t, asSim)
	agree(t, func() *bench {
		b := newBench(t, http.NotFoundHandler())
		b.step.CrossCheck, b.step.VLLMBench.Path, b.step.VLLMBench.Version, b.step.API = vllmBenchName, path, realparts.VLLMVersion, "completions"
		b.step.Concurrency, b.step.NumPrompts, b.step.ISL, b.step.OSL = 8, 40, 256, 32
		b.setup(t, endpoint.Access{URL: sim}, nil)
		return b
	}, []agreement{{"ttft_ms_median", 0.15, 5}, {"tpot_ms_median", 0.05, 0.5}, {"output_tps", 0.1, 0}, {"output_tokens_mean", 0, 0}, {"input_tokens_mean", 0.02, 0}})
}
