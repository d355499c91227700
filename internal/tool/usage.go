package tool

import (
	"runtime"
	"time"
)

// A Usage is what CPU time a process group has used, looked at again and again.
type Usage struct{ looks []look }

// A look is the CPU time that each process has used so far.
type look struct {
	at  time.Time
	cpu map[int]time.Duration // by process
}

// lookEvery is fine enough for runs of seconds.
const lookEvery = 250 * time.Millisecond

type watch struct {
	quit  chan struct{}
	gone  chan struct{}
	usage Usage
}

func watchUsage(group int) *watch {
	w := &watch{quit: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(w.gone)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			if cpu := groupCPU(group); cpu != nil {
				w.usage.looks = append(w.usage.looks, look{time.Now(), cpu})
			}
			select {
			case <-w.quit:
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

func (w *watch) stop() Usage {
	close(w.quit)
	<-w.gone
	return w.usage
}

// Between returns the CPU time used from one instant to another, by all
// processes as a share of this machine's cores, and by the busiest one as a
// share of one core: a process with one thread of Python can use no more than
// that. It is false where the looks do not cover the span.
func (u Usage) Between(from, to time.Time) (all, busiest float64, ok bool) {
	first, last := -1, -1
	for i, l := range u.looks {
		if !l.at.After(from) {
			first = i
		}
		if last < 0 && !l.at.Before(to) {
			last = i
		}
	}
	if first < 0 && len(u.looks) > 0 {
		first = 0
	}
	if last < 0 {
		last = len(u.looks) - 1
	}
	if first < 0 || last <= first {
		return 0, 0, false
	}
	span := u.looks[last].at.Sub(u.looks[first].at)
	var sum, top time.Duration
	for pid, cpu := range u.looks[last].cpu {
		used := cpu - u.looks[first].cpu[pid]
		sum += used
		top = max(top, used)
	}
	return sum.Seconds() / span.Seconds() / float64(runtime.NumCPU()), top.Seconds() / span.Seconds(), true
}

// Total returns the CPU time of all processes that were seen.
func (u Usage) Total() time.Duration {
	most := map[int]time.Duration{}
	for _, l := range u.looks {
		for pid, cpu := range l.cpu {
			most[pid] = max(most[pid], cpu)
		}
	}
	var sum time.Duration
	for _, cpu := range most {
		sum += cpu
	}
	return sum
}
