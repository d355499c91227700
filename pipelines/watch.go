package pipelines

import (
	"time"

	"pipeline/internal/yaml"
)

// The watchdog gives up on an expression that runs for watchEvery times
// watchTicks. Budgets stop most of them long before; this is for the rest, so
// that no spec can hang its reader.
const (
	watchEvery = 100 * time.Millisecond
	watchTicks = 6
	planTicks  = 300 // of all expressions of a plan
)

// watch waits for a plan, or for one expression to take too long. What runs
// away cannot be stopped; it is left to itself, and nothing of it is used.
func (p *planning) watch(done <-chan *Plan) (*Plan, *yaml.Error) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	last, same := int64(-1), 0
	for all := 0; ; all++ {
		select {
		case plan := <-done:
			return plan, nil
		case <-t.C:
		}
		now := p.ticks.Load()
		e := p.running.Load()
		if e != nil && all >= planTicks {
			return nil, e.errorf("use simpler templates, or fewer cells", "the templates of this spec take too long; the last was this one")
		}
		if e == nil || now != last {
			last, same = now, 0
			continue
		}
		if same++; same >= watchTicks {
			return nil, e.errorf("simplify it", "the expression takes too long")
		}
	}
}
