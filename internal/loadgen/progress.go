package loadgen

import (
	"slices"
	"time"

	"pipeline/lake/perf"
)

// latestKept is over how many of the latest requests a Progress tells TTFT.
const latestKept = 256

// progress calls OnProgress until stop is called, and once more then.
// The part tells which part of the run it is and how much there is to do.
func (r *run) progress(part Progress) (stop func()) {
	if r.conf.OnProgress == nil {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(ProgressEvery)
		defer tick.Stop()
		events, at := r.events.Load(), r.clock.now()
		tell := func() {
			now, n := r.clock.now(), r.events.Load()
			p := r.state(part)
			if now > at {
				p.OutputTPS = float64(n-events) / (float64(now-at) / 1e9)
			}
			events, at = n, now
			r.conf.OnProgress(p)
		}
		for {
			select {
			case <-tick.C:
				tell()
			case <-quit:
				tell()
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

func (r *run) state(p Progress) Progress {
	r.mu.Lock()
	p.Done, p.Failed, p.InFlight = r.ended, r.failed, int(r.inFlight.Load())
	latest := slices.Clone(r.latest)
	r.mu.Unlock()
	if len(latest) > 0 {
		slices.Sort(latest)
		p.TTFTms = perf.Percentile(latest, 50)
	}
	return p
}
