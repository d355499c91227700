package cellrun

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"pipeline/internal/aiperf"
	"pipeline/internal/conversation"
	"pipeline/internal/tool"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// aiperfDriver runs NVIDIA's AIPerf.
type aiperfDriver struct{}

func (aiperfDriver) name(c *cell) perf.Driver {
	return perf.Driver{Name: aiperfName, Version: c.step.AIPerf.Version}
}

// keyVar is the variable by which a tool gets the key of the endpoint.
const keyVar = "PIPELINE_ENDPOINT_API_KEY"

func (aiperfDriver) load(ctx context.Context, c *cell, meter *meter, watch *watch) (*load, error) {
	p := &c.step.AIPerf
	found, err := c.findTool(ctx, tool.AIPerf(), "aiperf", p)
	if err != nil {
		return nil, err
	}
	dir, err := c.folder(found.Name)
	if err != nil {
		return nil, err
	}
	call := &aiperf.Call{
		URL: c.client.URL(), Model: c.model, Workload: c.workload(), Prompts: c.step.UniquePrompts, Folder: filepath.Join(dir, "artifacts"), Extra: p.Args,
	}
	if call.Tokenizer, err = c.tokenizer(p); err != nil {
		return nil, err
	}
	if c.recorded != nil {
		if err := c.recorded.writeAIPerf(call, filepath.Join(dir, "input.jsonl"), c.step); err != nil {
			return nil, err
		}
	}
	call.Seed = c.toolSeed(c.emptyCache(ctx))
	if err := c.aiperfKey(call, dir); err != nil {
		return nil, err
	}
	progress := &aiperfProgress{c: c, watch: watch, file: filepath.Join(call.Folder, "profile_export.jsonl"), total: call.Workload.NumPrompts, warmups: call.Workload.Warmup}
	x := &external{c: c, meter: meter, watch: watch, tool: found, version: p.Version, dir: dir, hubToken: c.token(p), args: call.Args(), env: call.Environment(), follow: progress.follow}
	if c.access.Insecure {
		x.env = append(x.env, "AIPERF_HTTP_SSL_VERIFY=false")
	}
	if call.KeyVar != "" {
		x.env = append(x.env, keyVar+"="+c.access.APIKey)
	}
	end, err := x.run(ctx)
	if err != nil {
		return nil, err
	}
	return x.aiperfLoad(end, call)
}

// writeAIPerf writes what is played as an input file of AIPerf, which takes it
// from the front: the warm-up first, with the first turns of conversations that
// are not measured.
func (r *recording) writeAIPerf(call *aiperf.Call, path string, s *Step) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	kind := r.aiperfType()
	call.Input, call.InputType = path, string(kind)
	warm, behind := r.play[max(0, len(r.play)-s.Warmup):], r.spare
	if must, _ := r.spares(s); must > 0 {
		warm, behind = r.spare[:must], r.spare[must:]
	}
	for i := range s.Warmup {
		first := warm[i%len(warm)].Head(1)
		first.ID = fmt.Sprintf("warmup-%d", i+1)
		if err := kind.Write(w, first, s.OSL); err != nil {
			return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
		}
	}
	for _, c := range slices.Concat(r.play, behind) {
		if err := kind.Write(w, c, s.OSL); err != nil {
			return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
		}
	}
	return w.Flush()
}

// aiperfType is the simplest type of AIPerf's that carries the conversations.
func (r *recording) aiperfType() conversation.AIPerf {
	kind := conversation.AIPerfSingleTurn
	for _, c := range slices.Concat(r.play, r.spare) {
		if len(c.Turns) > 1 && kind == conversation.AIPerfSingleTurn {
			kind = conversation.AIPerfMultiTurn
		}
		recorded := slices.ContainsFunc(c.Turns[:len(c.Turns)-1], func(t conversation.Turn) bool { return t.Assistant != "" })
		if c.System != "" || recorded {
			return conversation.AIPerfMessages
		}
	}
	return kind
}

// aiperfKey hands the key of the endpoint over, if there is one.
func (c *cell) aiperfKey(call *aiperf.Call, dir string) error {
	if c.access.APIKey == "" {
		return nil
	}
	call.KeyVar, call.Config = keyVar, filepath.Join(dir, "config.yaml")
	text, err := call.ConfigFile()
	if err != nil {
		return err
	}
	return os.WriteFile(call.Config, text, 0o600)
}

// toolSeed is the seed of a tool's prompts. Where the prefix cache should be
// cold and could not be emptied, it is one of this measurement alone, so that
// the prompts are new to the server.
func (c *cell) toolSeed(emptied bool) int64 {
	seed := c.workload().Seed
	if c.step.CacheRegime == cold && !emptied {
		h := fnv.New32a()
		fmt.Fprintf(h, "%d %s", seed, c.salt())
		seed = int64(h.Sum32())
	}
	return seed & (1<<31 - 1) // numpy takes no more than 32 bits
}

// aiperfLoad reads what a call left.
func (x *external) aiperfLoad(end tool.End, call *aiperf.Call) (*load, error) {
	complaint := aiperf.Complaint(end.Tail)
	l := &load{requests: perf.Slice(nil), start: x.c.env.Now().UTC(), end: x.c.env.Now().UTC(), driver: x.name(), reasons: x.reasons(end, complaint), warmupToo: true}
	if end.Cut != nil {
		if err := aiperf.Cut(call.Folder); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	run, err := aiperf.Read(call.Folder)
	switch {
	case err == nil:
	case len(l.reasons) > 0 || end.Cut != nil:
		// It did not come to a result, and says why; what it left need not be whole.
		l.failure = complaint
		if len(l.reasons) > 0 {
			l.failure = l.reasons[0]
		}
		return l, nil
	default:
		return nil, fmt.Errorf("%w; the end of what AIPerf says: %s", err, complaint)
	}
	if err := x.keepTelemetry(run.Telemetry()); err != nil {
		return nil, err
	}
	if run.Records != nil {
		l.requests, l.start, l.end = run.Records.Stream, run.Records.Start, run.Records.End
	}
	if l.doubts, err = x.beganTwice(l.requests); err != nil {
		return nil, err
	}
	l.judge = func(asked perf.Workload) (perf.Measurement, error) {
		m, err := run.Measurement(asked, nil)
		if err != nil {
			return m, err
		}
		m.Start, m.End, m.Driver = l.start, l.end, l.driver
		var lag *perf.Dist
		if run.Records != nil {
			lag = run.Records.Lag()
		}
		var doubts []string
		m.Client, doubts = toolClient(&m, end.Usage, lag)
		m.Doubts = append(m.Doubts, doubts...)
		if m.Client.Bound && m.Status != perf.Failed {
			lower(&m, "client_bound: "+m.Client.Why)
		}
		return m, nil
	}
	return l, nil
}

// keepTelemetry hands on the samples of GPUs that AIPerf took under the load
// that is the cell's; those of a cross-check are of another time.
func (x *external) keepTelemetry(path string) error {
	if path == "" || x.c.step.Driver != aiperfName {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return x.c.env.Write(telemetryFile, func(w io.Writer) error { _, err := io.Copy(w, f); return err })
}

// beganTwice says that AIPerf came to the end of its input file, and went on
// from its front.
func (x *external) beganTwice(requests perf.Stream) ([]string, error) {
	r := x.c.recorded
	if r == nil {
		return nil, nil
	}
	must, _ := r.spares(x.c.step)
	sessions, given := map[int]bool{}, len(r.play)+len(r.spare)-must
	for request, err := range requests(false) {
		if err != nil {
			return nil, err
		}
		if !request.Warmup {
			sessions[request.Session] = true
		}
	}
	if len(sessions) <= given {
		return nil, nil
	}
	return []string{fmt.Sprintf("prompts_repeat: AIPerf began %d conversations and had %d; what the server had cached of one made its next answers faster", len(sessions), given)}, nil
}

// aiperfProgress tells how far AIPerf is, by the records that it writes.
type aiperfProgress struct {
	c              *cell
	watch          *watch
	file           string
	total, warmups int

	warm, done, failed int
	tokens             float64   // of measured answers
	latest             []float64 // TTFT in ms, a ring
}

const (
	followEvery = 250 * time.Millisecond
	latestKept  = 256
)

// follow reads the records as they are written, until ctx ends.
func (p *aiperfProgress) follow(ctx context.Context) {
	var in *bufio.Reader
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var line []byte
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if in == nil {
			f, err := os.Open(p.file)
			if err != nil {
				continue // it is not there yet
			}
			defer f.Close()
			in = bufio.NewReaderSize(f, 256<<10)
		}
		before := p.warm + p.done
		for {
			part, err := in.ReadSlice('\n')
			line = append(line, part...)
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil {
				break // the rest of the line is not written yet
			}
			p.record(line)
			line = line[:0]
		}
		if n := p.warm + p.done; n > before {
			if before == 0 {
				p.watch.allow(0)
				began = time.Now()
			}
			p.watch.ended(n)
			if p.done >= p.total {
				p.watch.allow(time.Duration(p.c.step.StartTimeout)) // it works on the results now
			}
		}
		p.say(time.Since(began))
	}
}

func (p *aiperfProgress) record(line []byte) {
	if bytes.Contains(line, []byte(`"benchmark_phase":"warmup"`)) {
		p.warm++
		return
	}
	p.done++
	if ms, ok := valueIn(line, `"time_to_first_token":{"value":`); ok {
		if len(p.latest) < latestKept {
			p.latest = append(p.latest, ms)
		} else {
			p.latest[p.done%latestKept] = ms
		}
	} else {
		p.failed++
	}
	if n, ok := valueIn(line, `"output_sequence_length":{"value":`); ok {
		p.tokens += n
	}
}

// valueIn reads the number behind a mark, without reading the rest: the lines
// are long, and the machine is the tool's.
func valueIn(line []byte, mark string) (float64, bool) {
	i := bytes.Index(line, []byte(mark))
	if i < 0 {
		return 0, false
	}
	rest := line[i+len(mark):]
	end := bytes.IndexAny(rest, ",}")
	if end < 0 {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(rest[:end]), 64)
	return v, err == nil
}

func (p *aiperfProgress) say(since time.Duration) {
	told := progress{starting: p.warm+p.done == 0, warmup: p.done == 0 && p.warmups > 0, done: p.done, failed: p.failed, total: p.total, inFlight: -1, waiting: p.watch.waitingNow()}
	if told.warmup {
		told.done, told.total = p.warm, p.warmups
	}
	if len(p.latest) > 0 {
		sorted := slices.Clone(p.latest)
		slices.Sort(sorted)
		told.ttftMS = perf.Percentile(sorted, 50)
		if s := since.Seconds(); s > 1 && p.done < p.total {
			told.outputTPS = p.tokens / s
		}
	}
	p.c.tell(told)
}
