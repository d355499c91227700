package loadgen

import "time"

const (
	// wakeEvery is the distance of the instants at which a watch should wake:
	// short against a token's time, and 500 a second cost a core some 1%.
	wakeEvery = 2 * time.Millisecond
	// wakeBucket and wakeBuckets: the lateness is counted in steps of 0.1 ms,
	// up to a second; what is later counts as a second.
	wakeBucket  = 100 * time.Microsecond
	wakeBuckets = 10_000
)

// A watch tells how late this process comes to run: it sleeps to instants
// wakeEvery apart and counts how much later it woke. What it is late, a token
// that arrives at that instant is late too. Other programs on the machine,
// busy cores of this one, and its collector all show here.
type watch struct {
	counts [wakeBuckets + 1]int
	n      int
	stop   chan struct{}
	done   chan struct{}
}

func startWatch() *watch {
	w := &watch{stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *watch) run() {
	defer close(w.done)
	due := time.Now()
	for {
		due = due.Add(wakeEvery)
		time.Sleep(time.Until(due)) // and not pause, which would hold one of the few threads that run goroutines
		due = w.woke(due, time.Now())
		select {
		case <-w.stop:
			return
		default:
		}
	}
}

// woke counts a sleep that should have ended at due. All instants that it
// slept through count, each with its own lateness: else one long stop would be
// one value among thousands. It returns the last of them.
func (w *watch) woke(due, now time.Time) time.Time {
	for ; ; due = due.Add(wakeEvery) {
		late := max(0, now.Sub(due))
		w.counts[min(late/wakeBucket, wakeBuckets)]++
		w.n++
		if late < wakeEvery {
			return due
		}
	}
}

// end stops the watch and returns how late, in ms, the process ran at the 99th
// percentile of the instants.
func (w *watch) end() (p99 float64) {
	close(w.stop)
	<-w.done
	return w.quantile(0.99)
}

// quantile is the upper bound of the bucket in which the q-th of the values
// lies (nearest rank), in ms.
func (w *watch) quantile(q float64) float64 {
	left := q * float64(w.n)
	for i, n := range w.counts[:wakeBuckets] {
		if left -= float64(n); left <= 0 {
			return (time.Duration(i+1) * wakeBucket).Seconds() * 1000
		}
	}
	return (wakeBuckets * wakeBucket).Seconds() * 1000
}
