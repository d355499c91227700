package loadgen

import (
	"fmt"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"pipeline/lake/perf"
)

// Above these, the generator may have set the numbers.
const (
	// MaxLag and MaxLagShare: requests left so much later than they should
	// have, at the 99th percentile. 10 ms is a human-scale latency error, and
	// 1% of the median TTFT is what trials differ by anyway; a lag must pass
	// both to matter. TTFT is the shortest of the latencies that a late request
	// spoils; in an open loop it counts from the intended time.
	MaxLag      = 10 * time.Millisecond
	MaxLagShare = 0.01
	// MaxWake, MaxWakeITL and MaxWakeTTFT: this process came to run so much
	// late, at the 99th percentile, that its times are not the server's. 20 ms
	// is what one or two other busy programs to a core cost on Linux (turns of
	// some 3 ms, and the collector beside them): a machine that is shared fairly
	// passes with a doubt. The lateness must also pass a tenth of the median ITL
	// or 1% of the median TTFT: below, their tails are still the server's.
	MaxWake     = 20 * time.Millisecond
	MaxWakeITL  = 0.1
	MaxWakeTTFT = 0.01
	// DoubtWake of lateness is what an idle machine stays below: Go's timers may
	// be a millisecond late. Above it, and above MaxWakeITL of the median ITL, it
	// is a doubt.
	DoubtWake = 2 * time.Millisecond
	// MaxCPUShare of its cores used by this process: above it, goroutines wait
	// for a core, and times are taken late.
	MaxCPUShare = 0.9
	// MaxSteal of the machine's CPU time taken by its other guests is a doubt:
	// the clock runs on while nothing here does.
	MaxSteal = 0.05
	// MaxGCPause at which a pause of the collector shows in latencies; a doubt.
	MaxGCPause = 10 * time.Millisecond
)

// A health is the state of this process and machine over the measured requests.
type health struct {
	began, ended time.Time
	cpu          time.Duration // user and system time used
	steal        *float64
	stealBefore  stealTimes
	gcBefore     []uint64
	gcPauseMS    float64
	load         float64
	watch        *watch
	wakeMS       *float64 // nil: not watched
}

const gcPauses = "/sched/pauses/total/gc:seconds"

func startHealth() health {
	counts, _ := readPauses()
	return health{began: time.Now(), cpu: -cpuTime(), stealBefore: readSteal(), gcBefore: counts, watch: startWatch()}
}

func (h *health) end() {
	wake := h.watch.end()
	h.wakeMS = &wake
	h.ended = time.Now()
	h.cpu += cpuTime()
	h.steal = readSteal().since(h.stealBefore)
	h.load = loadAverage()
	counts, bounds := readPauses()
	for i := range counts {
		if i < len(h.gcBefore) && counts[i] == h.gcBefore[i] {
			continue
		}
		// The bucket's upper bound; the last one has none.
		high := bounds[i+1]
		if math.IsInf(high, 0) {
			high = bounds[i]
		}
		h.gcPauseMS = max(h.gcPauseMS, high*1000)
	}
}

// readPauses returns the histogram of the collector's pauses since the process began.
func readPauses() (counts []uint64, bounds []float64) {
	sample := []metrics.Sample{{Name: gcPauses}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil, nil
	}
	h := sample[0].Value.Float64Histogram()
	return slices.Clone(h.Counts), h.Buckets
}

// stealTimes are the CPU times of the machine, in ticks. Zero is unknown.
type stealTimes struct{ stolen, all float64 }

func (s stealTimes) since(before stealTimes) *float64 {
	if s.all <= before.all {
		return nil
	}
	share := (s.stolen - before.stolen) / (s.all - before.all)
	return &share
}

// clientHealth sums up the health of the generator over the measured requests,
// and says whether it may have set the numbers.
func (r *run) clientHealth() (perf.Client, []string) {
	h := &r.health
	c := perf.Client{
		GOMAXPROCS: runtime.GOMAXPROCS(0), LoadAverage: h.load, GCPauseMaxms: h.gcPauseMS, WakeP99ms: h.wakeMS, StealShare: h.steal,
		NewConns: int(r.newConns.Load()), ReusedConns: int(r.reusedConns.Load()), Predialled: r.predialled,
		ClockErrorMS: clockError(), RequestCostUS: r.calibration.requestUS, EventsMaxRate: r.calibration.eventsPerS,
	}
	if wall := h.ended.Sub(h.began); wall > 0 {
		share := h.cpu.Seconds() / wall.Seconds() / float64(min(runtime.GOMAXPROCS(0), runtime.NumCPU()))
		c.CPUShare = &share
	}
	v := lags(r.requests, r.conf.open())
	if lag := perf.Describe(v.lag); lag != nil {
		c.LagP50ms, c.LagP99ms, c.LagMaxms = &lag.P50, &lag.P99, &lag.Max
	}
	if v.events > 0 {
		share := v.coalesced / v.events
		c.Coalesced = &share
		c.EventsARead = v.events / max(1, v.events-v.coalesced)
	}
	if r.conf.open() && v.sent > 1 && v.last > v.first {
		c.AchievedRate = float64(v.sent-1) / (float64(v.last-v.first) / 1e9)
	}
	typical := medians{ttft: median(v.ttft), itl: median(v.itl)}
	c.Why = bound(&c, typical)
	c.Bound = c.Why != ""
	return c, healthDoubts(&c, typical)
}

// medians are what the lateness of the client is weighed against, in ms; 0 is
// unknown. In an open loop ttft counts from the intended time.
type medians struct{ ttft, itl float64 }

func median(values []float64) float64 {
	if d := perf.Describe(values); d != nil {
		return d.P50
	}
	return 0
}

// lagging are the values of the measured requests that health needs.
type lagging struct {
	lag, ttft         []float64 // ms
	itl               []float64 // ms, the mean of a request
	events, coalesced float64
	sent              int
	first, last       int64 // sent
}

func lags(requests []perf.Request, open bool) lagging {
	var v lagging
	for i := range requests {
		rec := &requests[i]
		if rec.Warmup || rec.SentNS < 0 {
			continue
		}
		// The wait for a slot of a limited open loop is the server's doing.
		v.lag = append(v.lag, float64(rec.SentNS-max(rec.IntendedNS, rec.AcquiredNS))/1e6)
		v.answer(rec, open)
		v.events += float64(len(rec.ChunkNS))
		v.coalesced += float64(rec.Coalesced)
		if v.sent == 0 {
			v.first, v.last = rec.SentNS, rec.SentNS
		}
		v.first, v.last = min(v.first, rec.SentNS), max(v.last, rec.SentNS)
		v.sent++
	}
	return v
}

// answer takes in the latencies of a request that was answered.
func (v *lagging) answer(rec *perf.Request, open bool) {
	if !rec.OK() {
		return
	}
	from := rec.SentNS
	if open {
		from = rec.IntendedNS
	}
	v.ttft = append(v.ttft, float64(rec.FirstNS-from)/1e6)
	if n := len(rec.ChunkNS); n > 1 && rec.LastNS > rec.FirstNS {
		v.itl = append(v.itl, float64(rec.LastNS-rec.FirstNS)/1e6/float64(n-1))
	}
}

// bound returns why the generator may have set the numbers, or "".
func bound(c *perf.Client, typical medians) string {
	var why []string
	if lag := c.LagP99ms; lag != nil && above(*lag, MaxLag) && beyond(*lag, MaxLagShare, typical.ttft) {
		why = append(why, fmt.Sprintf("requests left %.1f ms late at the 99th percentile, %.1f%% of the median TTFT",
			*lag, 100**lag/typical.ttft))
	}
	if wake := c.WakeP99ms; wake != nil && above(*wake, MaxWake) &&
		(beyond(*wake, MaxWakeITL, typical.itl) || beyond(*wake, MaxWakeTTFT, typical.ttft)) {
		why = append(why, fmt.Sprintf("this process came to run %.1f ms late at the 99th percentile; the median ITL is %.1f ms, the median TTFT %.1f ms",
			*wake, typical.itl, typical.ttft))
	}
	if c.CPUShare != nil && *c.CPUShare > MaxCPUShare {
		why = append(why, fmt.Sprintf("this process used %.0f%% of its %d cores", 100**c.CPUShare, min(runtime.NumCPU(), c.GOMAXPROCS)))
	}
	return strings.Join(why, "; ")
}

func above(ms float64, limit time.Duration) bool { return ms > limit.Seconds()*1000 }

// beyond reports whether ms is more than a share of a median that is known.
func beyond(ms, share, median float64) bool { return median > 0 && ms > share*median }

// healthDoubts names what is unusual about the client and did not decide.
func healthDoubts(c *perf.Client, typical medians) []string {
	var doubts []string
	if lag := c.LagP99ms; !c.Bound && lag != nil && (above(*lag, MaxLag) || beyond(*lag, MaxLagShare, typical.ttft)) {
		doubts = append(doubts, fmt.Sprintf("client_lag: requests left %.2f ms late at the 99th percentile; the median TTFT is %.2f ms", *lag, typical.ttft))
	}
	if wake := c.WakeP99ms; !c.Bound && wake != nil && (above(*wake, MaxWake) || above(*wake, DoubtWake) && beyond(*wake, MaxWakeITL, typical.itl)) {
		doubts = append(doubts, fmt.Sprintf("client_starved: the generator came to run %.1f ms late at the 99th percentile; the median ITL is %.2f ms, and the tail of ITL may be the client's",
			*wake, typical.itl))
	}
	if c.StealShare != nil && *c.StealShare > MaxSteal {
		doubts = append(doubts, fmt.Sprintf("cpu_steal: other guests of this machine took %.1f%% of its CPU time", 100**c.StealShare))
	}
	if c.GCPauseMaxms > float64(MaxGCPause.Milliseconds()) {
		doubts = append(doubts, fmt.Sprintf("gc_pause: the generator stood still for %.1f ms", c.GCPauseMaxms))
	}
	return doubts
}
