package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipeline/lake/perf"
)

// stampServer, set in the environment, makes the test binary a server that
// writes into each token the time at which it wrote it.
const stampServer = "LOADGEN_TEST_STAMP_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(stampServer) != "" {
		if err := serveStamps(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// tokenEvery is 50 tokens a second a stream.
const tokenEvery = 20 * time.Millisecond

// serveStamps serves until its standard input ends.
func serveStamps() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go http.Serve(l, http.HandlerFunc(answerStamps))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// answerStamps streams max_tokens tokens, one every tokenEvery. A path with
// /step sends the tokens of all streams at one instant, as an engine with
// continuous batching does; else each stream has its own phase.
func answerStamps(w http.ResponseWriter, req *http.Request) {
	var asked struct {
		MaxTokens int `json:"max_tokens"`
	}
	if !strings.HasSuffix(req.URL.Path, "/completions") {
		http.NotFound(w, req)
		return
	}
	if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	if strings.HasPrefix(req.URL.Path, "/step/") {
		now := time.Now()
		time.Sleep(now.Truncate(tokenEvery).Add(tokenEvery).Sub(now))
	}
	tick := time.NewTicker(tokenEvery)
	defer tick.Stop()
	head := `data: {"id":"cmpl-5f2e9d1c8b7a4e3f9d2c1b0a9f8e7d6c","object":"text_completion","created":1764000000,"model":"stamp","choices":[{"index":0,"text":"`
	tail := "\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n"
	b := make([]byte, 0, 512)
	for i := range asked.MaxTokens {
		if i > 0 {
			<-tick.C
		}
		b = append(b[:0], head...)
		b = strconv.AppendInt(b, time.Now().UnixNano(), 10)
		b = append(b, tail...)
		if _, err := w.Write(b); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
	}
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", asked.MaxTokens)
}

// startStamps starts the server in a process of its own.
func startStamps(b *testing.B) (url string, pid int) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), stampServer+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr), cmd.Process.Pid
}

// cpuUse is CPU time used so far, in ticks of /proc: by the machine, by a
// process, and all there was.
type cpuUse struct{ busy, process, all float64 }

func readCPU(b *testing.B, pid int) cpuUse {
	b.Helper()
	var u cpuUse
	field := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Skip("needs Linux: ", err)
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, text := range strings.Fields(line)[1:9] {
		u.all += field(text)
		if i != 3 && i != 4 { // idle, iowait
			u.busy += field(text)
		}
	}
	stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	u.process = field(fields[11]) + field(fields[12]) // utime, stime
	return u
}

// BenchmarkFidelity1024 measures how much later than the server wrote it a
// token is seen, server and client on the same cores. Each stream makes 3
// requests of 100 tokens, 50 tokens a second. Streams have phases of their own
// (spread), or all get their tokens at one instant (step): then the server
// needs milliseconds to write them, on the cores that the client reads with.
// The figures hold as far as others-cpu-% is small.
func BenchmarkFidelity1024(b *testing.B) {
	for _, pace := range []string{"spread", "step"} {
		for _, streams := range []int{1, 16, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%s/streams=%d", pace, streams), func(b *testing.B) {
				url, pid := startStamps(b)
				if pace == "step" {
					url += "/step"
				}
				for b.Loop() {
					fidelity(b, url, pid, pace, streams)
				}
			})
		}
	}
}

func fidelity(b *testing.B, url string, pid int, pace string, streams int) {
	const tokens, rounds = 100, 3
	w := perf.Workload{API: Completions, Arrival: perf.Closed, Concurrency: streams, NumPrompts: rounds * streams, ISL: 8, OSL: tokens}
	if pace == "spread" {
		w.RampUpS = 0.5
	}
	stamps := make([][]int64, w.NumPrompts) // each written by one stream
	for i := range stamps {
		stamps[i] = make([]int64, 0, tokens)
	}
	measured := false
	conf := Config{BaseURL: url, Model: "stamp", Workload: w}
	var before, after [2]cpuUse // of server and client
	read := func() [2]cpuUse { return [2]cpuUse{readCPU(b, pid), readCPU(b, os.Getpid())} }
	conf.BeforeMeasured = func() error { measured, before = true, read(); return nil }
	conf.AfterMeasured = func() { after = read() }
	conf.onContent = func(index int, text []byte, _ int64) {
		if !measured {
			return
		}
		stamp, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			b.Error(err)
		}
		stamps[index] = append(stamps[index], stamp)
	}
	result, err := Run(context.Background(), conf)
	if err != nil {
		b.Fatal(err)
	}
	var late []float64
	for _, r := range result.Requests {
		if !r.OK() || len(r.ChunkNS) != tokens || len(stamps[r.Index]) != tokens {
			b.Fatalf("request %d: %d tokens, %d stamps, error %+v", r.Index, len(r.ChunkNS), len(stamps[r.Index]), r.Error)
		}
		for i, at := range r.ChunkNS {
			late = append(late, float64(result.Start.UnixNano()+at-stamps[r.Index][i])/1e6)
		}
	}
	d := perf.Describe(late)
	b.ReportMetric(d.P50, "p50-ms")
	b.ReportMetric(d.P99, "p99-ms")
	b.ReportMetric(d.Max, "max-ms")
	all := after[0].all - before[0].all
	server, client := after[0].process-before[0].process, after[1].process-before[1].process
	b.ReportMetric(100*client/all, "client-cpu-%")
	b.ReportMetric(100*server/all, "server-cpu-%")
	b.ReportMetric(100*(after[0].busy-before[0].busy-server-client)/all, "others-cpu-%") // what disturbed
	b.ReportMetric(100**result.Client.Coalesced, "coalesced-%")
	b.ReportMetric(0, "ns/op")
}
