package vllmsim

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pipeline/internal/sol"
)

// A lab drives an engine on virtual time: no goroutine, no clock.
type lab struct {
	t      *testing.T
	e      *engine
	server *Server
	free   instant
	steps  []Step
}

func newLab(t *testing.T, change func(*Config)) *lab {
	t.Helper()
	config := Defaults()
	config.ModelShape, config.Hardware, config.TensorParallelSize = "llama-3.1-8b", "h100_sm90", 1
	config.StepOverhead = 0
	change(&config)
	s, err := build(config)
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, e: s.engine, server: s}
}

// prompt returns tokens that no other first has.
func prompt(first int32, tokens int) []int32 {
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = first
	}
	return ids
}

func (l *lab) add(tokens []int32, maxTokens int) *sequence {
	seq := &sequence{
		tokens: append([]int32(nil), tokens...), promptLen: len(tokens), maxTokens: maxTokens, arrival: l.free,
		hashes: blockHashes(tokens, l.server.config.BlockSize), answer: blockHash(1, tokens), out: newOutlet(),
	}
	l.e.sched.add(seq)
	return seq
}

// step runs one step; false if there is nothing to do.
func (l *lab) step() bool {
	l.t.Helper()
	if !l.e.sched.busy() {
		return false
	}
	if !l.e.begin(l.free) {
		l.free = l.e.sched.waiting[0].arrival
		return true
	}
	l.check()
	l.free = l.e.step.Due
	l.steps = append(l.steps, l.e.step)
	l.e.end(0)
	return true
}

// check asserts the limits that hold in every step.
func (l *lab) check() {
	l.t.Helper()
	tokens := 0
	for _, p := range l.e.parts {
		tokens += p.tokens
	}
	s := l.e.sched
	if tokens > s.maxTokens || len(s.running) > s.maxSeqs || s.pool.used() > s.pool.total {
		l.t.Fatalf("step of %d tokens (limit %d), %d running (limit %d), %d blocks of %d", tokens, s.maxTokens, len(s.running), s.maxSeqs, s.pool.used(), s.pool.total)
	}
	held := map[int32]int32{}
	for _, seq := range s.running {
		for _, id := range seq.blocks {
			held[id]++
		}
	}
	for id, b := range s.pool.blocks {
		if b.refs != held[int32(id)] {
			l.t.Fatalf("block %d has %d references, %d sequences hold it", id, b.refs, held[int32(id)])
		}
	}
}

func (l *lab) run() {
	l.t.Helper()
	for l.step() {
	}
}

// near compares seconds; each step is cut to whole nanoseconds.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*want {
		t.Errorf("%s = %.9g, want %.9g", what, got, want)
	}
}

// tpot is the mean time per token after the first.
func tpot(seq *sequence) float64 {
	return (seq.previous - seq.firstToken).Seconds() / float64(seq.generatedLen()-1)
}

// Vector V1 of the reference: Llama-3.1-8B bf16 on H100, 1024/256. The TPOT
// floor at 64 is 7.3652 ms, at 256 16.0193 ms.
func TestTPOTIsTheRooflineOverEfficiency(t *testing.T) {
	for _, c := range []struct {
		batch      int
		floorMS    float64
		efficiency float64
	}{{1, 4.525625160597015, 1}, {64, 7.365231570149254, 0.7}, {256, 16.01927015164179, 0.5}} {
		l := newLab(t, func(c2 *Config) {
			c2.Efficiency, c2.MaxNumBatchedTokens = c.efficiency, 1024*c.batch+1024
		})
		var seqs []*sequence
		for i := range c.batch {
			seqs = append(seqs, l.add(prompt(int32(i), 1024), 256))
		}
		l.run()
		for _, seq := range seqs {
			near(t, "TPOT", tpot(seq), c.floorMS/1e3/c.efficiency)
		}
	}
}

// Vector V1 of the reference: the TTFT floor of 1,024 tokens is 14.7265 ms.
func TestTTFTIsTheRooflineOverEfficiency(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Efficiency = 0.8 })
	seq := l.add(prompt(1, 1024), 1)
	l.run()
	near(t, "TTFT", seq.firstToken.Seconds(), 14.726494275480087e-3/0.8)
}

// Vector V5: GLM-5.1 NVFP4 on 8 B200 with fp8 KV, batch 64, context 4352, plus
// the communication floor of the reference (0.2386 ms at 64) and overheads.
func TestStepTimeUnderTensorParallelism(t *testing.T) {
	l := newLab(t, func(c *Config) {
		c.ModelShape, c.Hardware, c.TensorParallelSize = "glm-5.1-nvfp4", "b200_sm100", 8
		c.Efficiency, c.CollectiveLatency, c.StepOverhead = 1, 5*time.Microsecond, 100*time.Microsecond
	})
	parts := make([]part, 64)
	for i := range parts {
		parts[i] = part{&sequence{tokens: make([]int32, 4352), promptLen: 4351, computed: 4351}, 1}
	}
	step := l.e.pricing.price(parts, 0)
	near(t, "step", step.Due.Seconds(), 7.197893813576093e-3+0.23855104e-3+2*78*5e-6+100e-6)
}

func TestTimeScale(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Efficiency, c.TimeScale = 1, 0.01 })
	seq := l.add(prompt(1, 1024), 1)
	l.run()
	if want := 147264 * time.Nanosecond; seq.firstToken != want {
		t.Errorf("TTFT = %v, want %v", seq.firstToken, want)
	}
}

// A prompt of 20,000 tokens under a budget of 2,048 takes ten steps, and the
// sequence that decodes meanwhile gets a token in each.
func TestChunkedPrefillSharesTheBudget(t *testing.T) {
	l := newLab(t, func(c *Config) { c.MaxNumBatchedTokens = 2048 })
	decoding := l.add(prompt(1, 16), 100)
	l.step()
	long := l.add(prompt(2, 20000), 2)
	for range 9 {
		l.step()
		if got := l.steps[len(l.steps)-1]; got.Prefill != 2047 || got.Decode != 1 {
			t.Fatalf("step of %d prefill and %d decode tokens, want 2047 and 1", got.Prefill, got.Decode)
		}
	}
	if long.generatedLen() != 0 || decoding.generatedLen() != 10 {
		t.Fatalf("%d and %d tokens after ten steps, want 0 and 10", long.generatedLen(), decoding.generatedLen())
	}
	l.step()
	if long.generatedLen() != 1 {
		t.Fatal("the long prompt has no token after its last chunk")
	}
}

// Without chunks a prompt waits until it fits the budget whole.
func TestWithoutChunkedPrefill(t *testing.T) {
	l := newLab(t, func(c *Config) {
		c.EnableChunkedPrefill, c.MaxModelLen, c.MaxNumBatchedTokens = false, 2000, 2000
	})
	a, b := l.add(prompt(1, 1500), 3), l.add(prompt(2, 1500), 3)
	l.step()
	if a.generatedLen() != 1 || b.admitted {
		t.Fatalf("first step: %d tokens, second admitted %v", a.generatedLen(), b.admitted)
	}
	l.step()
	if !b.admitted || l.steps[1].Prefill != 1500 || l.steps[1].Decode != 1 {
		t.Fatalf("second step: %+v", l.steps[1])
	}
}

func TestMaxNumSeqs(t *testing.T) {
	l := newLab(t, func(c *Config) { c.MaxNumSeqs = 4 })
	var seqs []*sequence
	for i := range 10 {
		seqs = append(seqs, l.add(prompt(int32(i), 32), 8))
	}
	l.run() // lab.check watches the limit
	for i, seq := range seqs {
		if want := instant(0); i < 4 && seq.scheduled != want || i >= 4 && seq.scheduled == want {
			t.Errorf("sequence %d of 10 was scheduled at %v with 4 places", i, seq.scheduled)
		}
	}
}

// A sequence that arrives while a step runs waits for the next.
func TestArrivalDuringAStep(t *testing.T) {
	l := newLab(t, func(*Config) {})
	l.add(prompt(1, 64), 2)
	l.e.begin(l.free)
	due := l.e.step.Due
	late := l.add(prompt(2, 64), 2)
	late.arrival = due / 2
	l.free = due
	l.e.end(0)
	l.run()
	if late.scheduled != due || late.firstToken <= due {
		t.Errorf("arrived %v in a step until %v: scheduled %v, first token %v", late.arrival, due, late.scheduled, late.firstToken)
	}
}

// Three sequences of 8 blocks each in 20 blocks: the last one to come is
// preempted, computed again, and all end with all their tokens.
func TestPreemptionWhenBlocksRunOut(t *testing.T) {
	l := newLab(t, func(*Config) {})
	l.e.sched.pool = newBlockPool(16, 20, true)
	seqs := []*sequence{l.add(prompt(1, 64), 64), l.add(prompt(2, 64), 64), l.add(prompt(3, 64), 64)}
	l.run()
	if l.e.sched.preemptions == 0 {
		t.Error("no preemption")
	}
	for i, seq := range seqs {
		if seq.generatedLen() != 64 {
			t.Errorf("sequence %d has %d tokens", i, seq.generatedLen())
		}
	}
	if seqs[0].previous >= seqs[2].previous {
		t.Error("the first to come was not the first to end")
	}
	if used := l.e.sched.pool.used(); used != 0 {
		t.Errorf("%d blocks are still held", used)
	}
}

// Prefix hits come in whole blocks of 16, and never the whole prompt.
func TestPrefixCacheHits(t *testing.T) {
	for _, c := range []struct{ prompt, shared, want int }{
		{100, 100, 96}, {96, 96, 80}, {97, 97, 96}, {100, 40, 32}, {100, 15, 0}, {8, 8, 0},
	} {
		l := newLab(t, func(*Config) {})
		l.add(prompt(1, c.shared), 1)
		l.run()
		second := l.add(append(prompt(1, c.shared), prompt(2, c.prompt-c.shared)...), 1)
		l.run()
		if second.cached != c.want {
			t.Errorf("%d of %d tokens shared: %d cached, want %d", c.shared, c.prompt, second.cached, c.want)
		}
		if s := l.e.sched; s.hit != c.want || s.queried != c.shared+c.prompt {
			t.Errorf("counters: %d of %d", s.hit, s.queried)
		}
	}
}

func TestPrefixCacheOff(t *testing.T) {
	l := newLab(t, func(c *Config) { c.EnablePrefixCaching = false })
	l.add(prompt(1, 100), 1)
	l.run()
	second := l.add(prompt(1, 100), 1)
	l.run()
	if second.cached != 0 || l.e.sched.queried != 0 {
		t.Errorf("%d tokens cached, %d queried, with the cache off", second.cached, l.e.sched.queried)
	}
}

// The next turn of a conversation finds the last prompt and the answer to it.
func TestPrefixCacheHoldsAnswers(t *testing.T) {
	l := newLab(t, func(*Config) {})
	first := l.add(prompt(1, 64), 64)
	l.run()
	second := l.add(append(append([]int32(nil), first.tokens...), prompt(2, 20)...), 1)
	l.run()
	// The last token of the answer was sampled, never computed.
	if second.cached != 112 {
		t.Errorf("%d tokens cached, want 112", second.cached)
	}
}

// The blocks freed first are overwritten first, ends before beginnings.
func TestPrefixCacheIsLRU(t *testing.T) {
	l := newLab(t, func(*Config) {})
	l.e.sched.pool = newBlockPool(16, 8, true)
	l.add(prompt(1, 65), 1) // 5 blocks, 4 of them full
	l.run()
	l.add(prompt(2, 80), 1) // 5 blocks: 3 untouched and 2 of the first's end
	l.run()
	if again := l.e.sched.pool.cached(blockHashes(prompt(1, 64), 16)); len(again) != 3 {
		t.Errorf("%d blocks of the first prompt are left, want 3", len(again))
	}
}

func TestResetPrefixCache(t *testing.T) {
	l := newLab(t, func(*Config) {})
	l.add(prompt(1, 64), 2)
	l.step()
	if l.e.sched.pool.reset() {
		t.Error("reset while blocks are held")
	}
	l.run()
	if !l.e.sched.pool.reset() || len(l.e.sched.pool.cached(blockHashes(prompt(1, 64), 16))) != 0 {
		t.Error("the cache was not forgotten")
	}
}

// Whatever arrives, limits hold in each step (lab.check), each sequence gets
// all its tokens, and no block stays held.
func TestSchedulerHoldsItsLimits(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		chunked := rng.IntN(3) > 0
		l := newLab(t, func(c *Config) {
			c.MaxNumSeqs = 1 + rng.IntN(12)
			c.EnableChunkedPrefill = chunked
			c.MaxModelLen, c.MaxNumBatchedTokens = 600, 600
			if chunked {
				c.MaxNumBatchedTokens = c.MaxNumSeqs + rng.IntN(300)
			}
			c.EnablePrefixCaching = rng.IntN(2) == 0
		})
		l.e.sched.pool = newBlockPool(16, 38+rng.IntN(60), l.server.config.EnablePrefixCaching)
		var seqs []*sequence
		for len(seqs) < 40 {
			if rng.IntN(2) == 0 {
				seq := l.add(prompt(int32(rng.IntN(4)), 1+rng.IntN(400)), 1+rng.IntN(200))
				seq.arrival += time.Duration(rng.IntN(20)) * time.Millisecond
				if n := len(l.e.sched.waiting); n > 1 {
					seq.arrival = max(seq.arrival, l.e.sched.waiting[n-2].arrival)
				}
				seqs = append(seqs, seq)
			}
			if len(seqs) > 0 && rng.IntN(15) == 0 {
				l.e.sched.abort(seqs[rng.IntN(len(seqs))])
			}
			l.step()
		}
		l.run()
		for i, seq := range seqs {
			if !seq.gone {
				t.Fatalf("seed %d: sequence %d never ended", seed, i)
			}
			if pending, _, _ := seq.out.take(nil); len(pending) > 0 && pending[len(pending)-1].finish != "" && len(pending) != seq.maxTokens {
				t.Fatalf("seed %d: sequence %d got %d tokens of %d", seed, i, len(pending), seq.maxTokens)
			}
		}
		if used := l.e.sched.pool.used(); used != 0 {
			t.Fatalf("seed %d: %d blocks are still held", seed, used)
		}
	}
}

// The totals are the sums of the steps, and the work of a decode is that of
// the formulas.
func TestTotals(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Efficiency = 0.5 })
	l.add(prompt(1, 1024), 1)
	l.run()
	totals := l.server.Totals()
	d, err := sol.Deploy(l.server.deployment.Shape, l.server.deployment.GPU, 1, sol.KVBF16)
	if err != nil {
		t.Fatal(err)
	}
	want := d.Prefill(1024)
	if totals.Steps != 1 || totals.FLOPs != want.FLOPs || totals.Bytes != want.Bytes || totals.PrefillTokens != 1024 || totals.DecodeTokens != 0 {
		t.Errorf("totals %+v, want the prefill of 1024 tokens %+v", totals, want)
	}
	near(t, "busy", totals.BusySeconds, want.Floor()/0.5)
	near(t, "KV written", totals.WrittenBytes, 1024*131072)
}

// Stops: by token, by string (cut from the token that completes it), by
// natural end, and none of them before min_tokens.
func TestStops(t *testing.T) {
	tokens := prompt(9, 20)
	answer := blockHash(1, tokens)
	text := func(n int) string {
		var b []byte
		for i := range n {
			b = appendText(b, generated(answer, i))
		}
		return string(b)
	}
	third := text(3)[len(text(2)):]
	for _, c := range []struct {
		name   string
		change func(*sequence)
		count  int
		finish finish
		cut    int
	}{
		{"length", func(*sequence) {}, 10, finishLength, 0},
		{"natural", func(s *sequence) { s.ends = 4 }, 4, finishStop, 0},
		{"natural held back", func(s *sequence) { s.ends, s.minTokens = 4, 6 }, 6, finishStop, 0},
		{"token", func(s *sequence) { s.stopIDs = []int32{generated(answer, 5)} }, 6, finishStop, 0},
		{"string", func(s *sequence) { s.stops = []string{third[2:]} }, 3, finishStop, 2},
		{"string over two tokens", func(s *sequence) { s.stops = []string{text(2)[2:]} }, 2, finishStop, 4},
		{"string too early", func(s *sequence) { s.stops, s.minTokens = []string{third}, 5 }, 10, finishLength, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(*Config) {})
			seq := l.add(tokens, 10)
			c.change(seq)
			l.run()
			pending, _, _ := seq.out.take(nil)
			last := pending[len(pending)-1]
			if len(pending) != c.count || last.finish != c.finish || last.cut != c.cut {
				t.Errorf("%d tokens, finish %q, cut %d; want %d, %q, %d", len(pending), last.finish, last.cut, c.count, c.finish, c.cut)
			}
		})
	}
}
