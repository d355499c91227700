package vllmsim

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The cost of a token's SSE bytes, without the system call.
func BenchmarkTokenBytes(b *testing.B) {
	for _, stamped := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "stamped"}[stamped], func(b *testing.B) {
			config := Defaults()
			config.StampTokens = stamped
			server, err := build(config)
			if err != nil {
				b.Fatal(err)
			}
			a := &answer{server: server, w: httptest.NewRecorder(), seq: &sequence{promptLen: 1}, chat: true, faults: &Faults{}}
			s := newStream(a, streamOptions{})
			b.ReportAllocs()
			for i := range b.N {
				if err := s.token(emission{token: generated(1, i), stoppedID: -1}); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(s.buf)))
				s.buf = s.buf[:0]
			}
		})
	}
}

// One engine step with 1,024 decoding sequences: plan, price, sample, hand
// over. Divide by 1,024 for a token.
func BenchmarkStep1024(b *testing.B) {
	config := Defaults()
	config.ModelShape, config.Hardware, config.TensorParallelSize = "gpt-oss-120b", "b200_sm100", 8
	server, err := build(config)
	if err != nil {
		b.Fatal(err)
	}
	e := server.engine
	var seqs []*sequence
	for i := range 1024 {
		tokens := make([]int32, 128)
		tokens[0] = int32(i)
		seq := &sequence{tokens: tokens, promptLen: 128, maxTokens: 1 << 30, hashes: blockHashes(tokens, 16), out: newOutlet()}
		e.sched.add(seq)
		seqs = append(seqs, seq)
	}
	free, bufs := instant(0), make([][]emission, len(seqs))
	b.ReportAllocs()
	for b.Loop() {
		e.begin(free)
		free = e.step.Due
		e.end(0)
		for i, seq := range seqs {
			bufs[i], _, _ = seq.out.take(bufs[i])
		}
	}
}

// childEnv is set in the child that BenchmarkStreams1024 starts.
const childEnv = "VLLMSIM_BENCH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := serveChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveChild serves a machine whose step at 1,024 sequences takes about 20 ms,
// so 50 tok/s a stream, and prints its address. It ends with its stdin.
func serveChild() error {
	config := Defaults()
	config.ModelShape, config.TensorParallelSize, config.StampTokens = "llama-3.1-8b", 1, true
	config.StepOverhead = 10 * time.Millisecond
	s, err := New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s}
	go func() { _ = web.Serve(listener) }()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// 1,024 streams of 150 tokens from a server in another process. It reports
// how late clients saw tokens after the server stamped them as written, how
// late the server wrote them after they were due, and both processes' CPU.
// Rounds are long: run with -benchtime 1x.
func BenchmarkStreams1024(b *testing.B) {
	const streams, tokens = 1024, 150
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var delays, writes []float64
	began := time.Now()
	for b.Loop() {
		delays, writes = readStreams(b, strings.TrimSpace(address), streams, tokens)
	}
	elapsed := time.Since(began).Seconds() / float64(b.N)
	stdin.Close()
	if err := child.Wait(); err != nil {
		b.Fatal(err)
	}
	quantile := func(v []float64, q float64) float64 { slices.Sort(v); return v[int(q*float64(len(v)-1))] }
	b.ReportMetric(quantile(delays, 0.5), "seen-p50-us")
	b.ReportMetric(quantile(delays, 0.99), "seen-p99-us")
	b.ReportMetric(quantile(writes, 0.5), "written-p50-us")
	b.ReportMetric(quantile(writes, 0.99), "written-p99-us")
	b.ReportMetric(streams*tokens/elapsed, "tok/s")
	cpu := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	b.ReportMetric(cpu.Seconds()*1e6/float64(streams*tokens*b.N), "server-us/tok")
}

// readStreams runs the streams with plain sockets and returns, in
// microseconds, read minus written and written minus due for each token.
func readStreams(b *testing.B, address string, streams, tokens int) (delays, writes []float64) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range streams {
		group.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			body := fmt.Sprintf(`{"prompt":"stream number %d","max_tokens":%d,"ignore_eos":true,"stream":true}`, i, tokens)
			fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			mine, late := readStamps(conn)
			if len(mine) != tokens {
				b.Errorf("stream %d: %d tokens", i, len(mine))
			}
			mu.Lock()
			delays, writes = append(delays, mine...), append(writes, late...)
			mu.Unlock()
		})
	}
	group.Wait()
	return delays, writes
}

func readStamps(conn net.Conn) (delays, writes []float64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		now := time.Now().UnixNano()
		for rest := buf[:n]; ; {
			due, after, ok := numberAfter(rest, `"due_ns":`)
			if !ok {
				break
			}
			wrote, after, _ := numberAfter(after, `"wrote_ns":`)
			delays = append(delays, float64(now-wrote)/1e3)
			writes = append(writes, float64(wrote-due)/1e3)
			rest = after
		}
		if err != nil {
			return delays, writes
		}
	}
}

// numberAfter reads the digits that follow a name.
func numberAfter(text []byte, name string) (n int64, rest []byte, ok bool) {
	i := bytes.Index(text, []byte(name))
	if i < 0 {
		return 0, nil, false
	}
	rest = text[i+len(name):]
	for len(rest) > 0 && isDigit(rest[0]) {
		n, rest = n*10+int64(rest[0]-'0'), rest[1:]
	}
	return n, rest, true
}
