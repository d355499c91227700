package cellrun

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/prom"
	"pipeline/steps"
)

const (
	// quiet is looked at before the load, so that what the GPUs did then is
	// known: with the simulation's exporter, which collects ten times a second,
	// two collections.
	quiet = 250 * time.Millisecond
	// slowestLook is the longest time between two looks at an exporter that
	// shows nothing new.
	slowestLook  = time.Second
	fetchTimeout = 5 * time.Second
)

// A gpuWatch scrapes the exporters of GPU counters that the endpoint names,
// from before the load until after it. What it saw is evidence for
// dcgm_correlate; a cell is as good without it.
type gpuWatch struct {
	env    *steps.Env
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	samples dcgm.Samples
	took    time.Duration // longest scrape
	scrapes int
	lost    int
	why     error // of the last lost one
	hosts   []string
}

// watchGPUs starts to scrape, and returns when the quiet time before the load
// is over; nil if the endpoint names no exporter, or nobody wants to look.
func watchGPUs(ctx context.Context, env *steps.Env, pages []string, every time.Duration) *gpuWatch {
	if len(pages) == 0 || every <= 0 {
		return nil
	}
	w := &gpuWatch{env: env}
	ctx, w.cancel = context.WithCancel(ctx)
	for _, page := range pages {
		if u, err := url.Parse(page); err == nil {
			w.hosts = append(w.hosts, u.Host)
		}
		w.done.Go(func() { w.scrape(ctx, page, every) })
	}
	select {
	case <-ctx.Done():
	case <-time.After(quiet):
	}
	return w
}

// scrape looks at one page again and again: at once where the last look showed
// something new, and else after twice the time. So an exporter that collects
// ten times a second is seen as often, and a slow one is left in peace.
func (w *gpuWatch) scrape(ctx context.Context, page string, every time.Duration) {
	client := &http.Client{Timeout: fetchTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	next, wait := time.Now(), every
	for {
		began := time.Now()
		snapshot, err := prom.Fetch(ctx, client, page)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.lose(err)
		case w.take(snapshot, now, now.Sub(began)):
			wait = every
		default:
			wait = min(2*wait, max(slowestLook, every))
		}
		if next = next.Add(wait); next.Before(now) {
			next = now
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
	}
}

func (w *gpuWatch) lose(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost++
	w.why = err
}

// take keeps a page, and reports whether it shows what no page did before. It
// is stamped with when it was read: what it tells of was before.
func (w *gpuWatch) take(page prom.Snapshot, at time.Time, took time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scrapes++
	w.took = max(w.took, took)
	changed := false
	for _, name := range page.Names() {
		if _, known := dcgm.FieldNamed(name); !known {
			continue
		}
		found, _ := page.Find(name)
		for _, s := range found {
			changed = w.samples.Add(name, s.Labels, at.UnixMilli(), s.Value) || changed
		}
	}
	return changed
}

// end stops scraping and writes what was seen.
func (w *gpuWatch) end() error {
	if w == nil {
		return nil
	}
	w.cancel()
	w.done.Wait()
	if w.lost > 0 {
		w.env.Log.Warn("scrapes of GPU counters failed", "lost", w.lost, "of", w.lost+w.scrapes, "last", w.why)
	}
	if w.scrapes == 0 && w.lost > 0 {
		w.env.Doubt("no_gpu_counters: none of %d looks at the exporter of GPU counters was answered: %v", w.lost, w.why)
	}
	source := dcgm.Source{Kind: dcgm.FromScrape, ScrapeTookS: w.took.Seconds()}
	if len(w.hosts) > 0 {
		source.Host = w.hosts[0]
	}
	text, err := dcgm.NewCapture(source, &w.samples, w.lost).JSON()
	if err != nil {
		return err
	}
	return w.env.Write(dcgm.CaptureFile, func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	})
}
