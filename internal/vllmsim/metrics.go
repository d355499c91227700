package vllmsim

import (
	"sync"
	"time"
)

// metrics are vLLM's figures about requests, beside the totals of the steps.
// The engine writes them step by step; /metrics reads them.
type metrics struct {
	mu              sync.Mutex
	totals          Totals
	done            work // by one GPU, in steps that ended
	underWay        Step // the step that has begun; zero between two
	kvBytesPerToken float64
	success         map[finish]int
	promptCached    int // prompt tokens of finished prefills that were cached

	ttft, itl, tpot, e2e, queue, prefill, decode, inference     histogram
	promptTokens, generationTokens, maxGeneration, paramsMax, n histogram
	prefillComputed, iteration                                  histogram
}

// A histogram counts observations up to each bound, as Prometheus does.
type histogram struct {
	bounds []float64
	counts []uint64 // one more than bounds
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += v
}

func (h *histogram) count() uint64 {
	var n uint64
	for _, c := range h.counts {
		n += c
	}
	return n
}

// newMetrics uses vLLM's bucket bounds.
func newMetrics(maxModelLen int, kvBytesPerToken float64, blocks int) *metrics {
	first := []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	between := []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	request := []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	tokens := oneTwoFive(maxModelLen)
	step := []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	return &metrics{
		totals:          Totals{KVBlocks: blocks},
		kvBytesPerToken: kvBytesPerToken,
		success:         map[finish]int{finishStop: 0, finishLength: 0, finishAbort: 0},
		ttft:            newHistogram(first), itl: newHistogram(between), tpot: newHistogram(between),
		e2e: newHistogram(request), queue: newHistogram(request), prefill: newHistogram(request),
		decode: newHistogram(request), inference: newHistogram(request),
		promptTokens: newHistogram(tokens), generationTokens: newHistogram(tokens), maxGeneration: newHistogram(tokens),
		paramsMax: newHistogram(tokens), prefillComputed: newHistogram(tokens),
		n: newHistogram([]float64{1, 2, 5, 10, 20}), iteration: newHistogram(step),
	}
}

// oneTwoFive are the bounds 1, 2, 5, 10, 20, 50, ... up to max.
func oneTwoFive(max int) []float64 {
	var bounds []float64
	for decade := 1; ; decade *= 10 {
		for _, m := range []int{1, 2, 5} {
			if m*decade > max {
				return bounds
			}
			bounds = append(bounds, float64(m*decade))
		}
	}
}

// observeToken counts a token, and at the last one its request. The engine
// holds mu.
func (m *metrics) observeToken(seq *sequence, e emission) {
	m.totals.GeneratedTokens++
	if seq.generatedLen() == 1 {
		m.totals.PromptTokens += seq.promptLen
		m.promptCached += seq.cached
		m.ttft.observe((e.due - seq.arrival).Seconds())
	} else {
		m.itl.observe((e.due - seq.previous).Seconds())
	}
	seq.previous = e.due
	if e.finish == "" {
		return
	}
	m.success[e.finish]++
	generated := seq.generatedLen()
	m.e2e.observe((e.due - seq.arrival).Seconds())
	m.queue.observe((seq.scheduled - seq.arrival).Seconds())
	m.prefill.observe((seq.firstToken - seq.scheduled).Seconds())
	m.decode.observe((e.due - seq.firstToken).Seconds())
	m.inference.observe((e.due - seq.scheduled).Seconds())
	m.promptTokens.observe(float64(seq.promptLen))
	m.generationTokens.observe(float64(generated))
	m.maxGeneration.observe(float64(generated))
	m.paramsMax.observe(float64(seq.maxTokens))
	m.prefillComputed.observe(float64(seq.promptLen - seq.cached))
	m.n.observe(1)
	if generated > 1 {
		m.tpot.observe((e.due - seq.firstToken).Seconds() / float64(generated-1))
	}
}

// began notes the step under way, for who looks before it ends.
func (m *metrics) began(s Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay = s
}

// observeStep accounts a step. The engine holds mu.
func (m *metrics) observeStep(step Step, s *scheduler, lag time.Duration) {
	m.totals.add(step, m.kvBytesPerToken, lag)
	m.iteration.observe(float64(step.Prefill + step.Decode))
	m.state(s)
}

// state copies the gauges of the scheduler.
func (m *metrics) state(s *scheduler) {
	m.totals.Running, m.totals.Waiting = len(s.running), len(s.waiting)
	m.totals.Preemptions = s.preemptions
	m.totals.PrefixQueried, m.totals.PrefixHit = s.queried, s.hit
	m.totals.KVBlocksUsed = s.pool.used()
}

// idle is called when the last sequence has left.
func (m *metrics) idle(s *scheduler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state(s)
}

// aborted counts a request whose client went away.
func (m *metrics) aborted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.success[finishAbort]++
}
