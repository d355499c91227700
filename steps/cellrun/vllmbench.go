package cellrun

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pipeline/internal/conversation"
	"pipeline/internal/tool"
	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// vllmBenchDriver runs `vllm bench serve`.
type vllmBenchDriver struct{}

func (vllmBenchDriver) name(c *cell) perf.Driver {
	return perf.Driver{Name: vllmBenchName, Version: c.step.VLLMBench.Version}
}

func (vllmBenchDriver) load(ctx context.Context, c *cell, meter *meter, watch *watch) (*load, error) {
	p := &c.step.VLLMBench
	if why := vllmbench.Cannot(c.step.workload()); why != "" {
		return nil, fmt.Errorf("vllm bench serve cannot do this: %s: %w", why, steps.ErrPermanent)
	}
	found, err := c.findTool(ctx, tool.VLLM(), "vllm_bench", p)
	if err != nil {
		return nil, err
	}
	dir, err := c.folder(found.Name)
	if err != nil {
		return nil, err
	}
	call := &vllmbench.Call{URL: c.client.URL(), Model: c.model, Workload: c.workload(), Folder: dir, Insecure: c.access.Insecure, Extra: p.Args}
	if call.Tokenizer, err = c.tokenizer(p); err != nil {
		return nil, err
	}
	if c.recorded != nil {
		call.Input = filepath.Join(dir, "input.jsonl")
		if err := c.recorded.writeVLLMBench(call.Input, c.step); err != nil {
			return nil, err
		}
	}
	call.Seed = c.toolSeed(c.emptyCache(ctx))
	bar := &vllmBenchBar{c: c, watch: watch, warmups: call.Workload.Warmup, total: call.Workload.NumPrompts}
	x := &external{c: c, meter: meter, watch: watch, tool: found, version: p.Version, dir: dir, hubToken: c.token(p), args: call.Args(), line: bar.line}
	if c.access.APIKey != "" {
		x.env = append(x.env, vllmbench.KeyVar+"="+c.access.APIKey)
	}
	end, err := x.run(ctx)
	if err != nil {
		return nil, err
	}
	return x.vllmBenchLoad(end, call, bar.began())
}

// writeVLLMBench writes what is played: each request by itself.
func (r *recording) writeVLLMBench(path string, s *Step) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, c := range r.play {
		if err := conversation.WriteVLLMBench(w, c, s.OSL); err != nil {
			return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
		}
	}
	return w.Flush()
}

// vllmBenchLoad reads the result of a call. The tool writes it at its end, so
// that one that was cut leaves none.
func (x *external) vllmBenchLoad(end tool.End, call *vllmbench.Call, began time.Time) (*load, error) {
	now := x.c.env.Now().UTC()
	if began.IsZero() {
		began = now
	}
	complaint := vllmbench.Complaint(end.Tail)
	l := &load{requests: perf.Slice(nil), start: began, end: now, driver: x.name(), reasons: x.reasons(end, complaint), warmupToo: true}
	f, err := os.Open(filepath.Join(call.Folder, vllmbench.ResultFile))
	switch {
	case err == nil:
	case len(l.reasons) > 0:
		l.failure = l.reasons[0]
		return l, nil
	case end.Cut != nil:
		l.failure = "vllm bench serve was ended before it wrote a result; until then it keeps what it saw to itself"
		return l, nil
	default:
		return nil, fmt.Errorf("%w; the end of what vllm bench serve says: %s", err, complaint)
	}
	defer f.Close()
	reports, err := vllmbench.ReadResults(f)
	if err == nil && len(reports) != 1 {
		err = fmt.Errorf("it holds %d results, want 1", len(reports))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", vllmbench.ResultFile, err)
	}
	report := reports[0]
	if report.Requests != nil {
		l.requests = report.Requests
		// What import can't know, the records and the clock here tell.
		report.Doubts = slices.DeleteFunc(report.Doubts, func(d string) bool {
			return strings.HasPrefix(d, "time_untold: ") || strings.HasPrefix(d, "definition: itl_ms_std: ")
		})
	}
	l.beside = x.c.warmupBeside()
	l.end = began.Add(time.Duration(report.Summary.DurationS * float64(time.Second)))
	l.doubts = append(l.doubts, x.vllmBenchDoubts(call)...)
	l.judge = func(asked perf.Workload) (perf.Measurement, error) { return x.vllmBenchJudge(&report, asked, end, l) }
	return l, nil
}

func (x *external) vllmBenchJudge(report *perf.Report, asked perf.Workload, end tool.End, l *load) (perf.Measurement, error) {
	asked.RequestTimeoutS = 0 // the tool has none
	m, err := report.Measure(asked)
	if err != nil {
		return m, err
	}
	m.Start, m.End, m.Driver = l.start, l.end, l.driver
	artifacts, err := digests(x.dir)
	if err != nil {
		return m, err
	}
	m.Evidence = &perf.Evidence{Artifacts: artifacts}
	var doubts []string
	m.Client, doubts = toolClient(&m, end.Usage, nil)
	m.Doubts = append(m.Doubts, doubts...)
	if m.Client.Bound && m.Status != perf.Failed {
		lower(&m, "client_bound: "+m.Client.Why)
	}
	return m, nil
}

// warmupBeside is what the server counts of a warm-up that is in no record.
func (c *cell) warmupBeside() counts {
	n := counts{answered: float64(c.step.Warmup)}
	osl := c.step.OSL
	if c.recorded != nil {
		osl = c.step.asks(c.recorded.play[0].Turns[0])
	}
	n.tokens = float64(c.step.Warmup * osl)
	if c.step.Warmup > 0 && !c.step.IgnoreEOS {
		n.tokens = math.NaN() // nobody knows how long the answers were
	}
	return n
}

// vllmBenchDoubts are about what the tool does whatever it is asked.
func (x *external) vllmBenchDoubts(call *vllmbench.Call) []string {
	w := &call.Workload
	var doubts []string
	if w.Warmup > 0 {
		doubts = append(doubts, fmt.Sprintf("warmup_prompt: vllm bench serve warms up with its first prompt, which is measured too: of %d prompts, one was sent before", w.NumPrompts))
	}
	if w.API == "chat" {
		doubts = append(doubts, "ttft_by_event: ttft_ms_*: vllm bench serve takes the first event for the first token, also one without content")
	}
	if w.Turns > 1 {
		doubts = append(doubts, "turns_alone: vllm bench serve sends each turn by itself, whether or not the one before it was answered")
	}
	return doubts
}

// vllmBenchBar follows the tool's progress bar.
type vllmBenchBar struct {
	c              *cell
	watch          *watch
	warmups, total int

	mu    sync.Mutex
	start time.Time // of the measured requests
}

func (b *vllmBenchBar) line(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(s, vllmbench.Begins) {
		b.start = time.Now().UTC()
		b.watch.allow(0)
	}
	done, total, ok := vllmbench.Bar(s)
	if !ok {
		return
	}
	warmup := b.start.IsZero()
	if want := map[bool]int{true: b.warmups, false: b.total}[warmup]; total != want {
		return // another bar
	}
	if !warmup {
		b.watch.ended(b.warmups + done)
		if done == b.total {
			b.watch.allow(time.Duration(b.c.step.StartTimeout))
		}
	}
	b.c.tell(progress{warmup: warmup, done: done, total: total, inFlight: -1, waiting: b.watch.waitingNow()})
}

func (b *vllmBenchBar) began() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.start
}
