package cellrun

import (
	"context"
	"fmt"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/loadgen"
	"pipeline/lake/perf"
)

// nativeDriver is the load generator of this program.
type nativeDriver struct{}

func (nativeDriver) load(ctx context.Context, c *cell, meter *meter, watch *watch) (*load, error) {
	watch.begin()
	r, err := loadgen.Run(ctx, c.nativeConfig(ctx, meter, watch))
	if err != nil && len(r.Requests) == 0 {
		return nil, err
	}
	return &load{
		judge: func(asked perf.Workload) (perf.Measurement, error) {
			return perf.Assess(r.Requests, asked, &r.Client), nil
		},
		requests: perf.Slice(r.Requests), start: r.Start, end: r.End, doubts: r.Doubts,
		prompts: r.PromptDigest, simulated: r.Simulated, driver: nativeDriver{}.name(c),
	}, nil
}

// The version is the number of the way of measuring.
func (nativeDriver) name(c *cell) perf.Driver {
	params, err := digest.Canonical(c.step)
	if err != nil {
		params = []byte(err.Error())
	}
	return perf.Driver{Name: native, Version: fmt.Sprintf("protocol %d", protocol), Command: []string{"cell_run", string(params)}}
}

// nativeConfig is the run of the load generator.
func (c *cell) nativeConfig(ctx context.Context, meter *meter, watch *watch) loadgen.Config {
	s := c.step
	conf := loadgen.Config{
		BaseURL: c.client.URL(), Model: c.model, Workload: c.workload(), Conversations: c.conversations(),
		Token: loadgen.Token(c.access.APIKey),
		TLS:   loadgen.TLS{CAFile: c.access.CAFile, InsecureSkipVerify: c.access.Insecure},
		Stall: time.Duration(s.StallTimeout), Calibrate: s.Calibrate,
		BeforeMeasured: func() error {
			c.emptyCache(ctx) // after the warm-up, which fills it
			meter.begin(ctx)
			return nil
		},
		AfterMeasured: func() { meter.end(ctx) },
		OnProgress:    func(p loadgen.Progress) { c.nativeProgress(p, watch) },
	}
	if s.CacheRegime == cold {
		// Prompts of this run alone, so that nothing of them is cached even
		// where the cache cannot be emptied.
		conf.Salt = c.salt()
	}
	return conf
}

func (c *cell) nativeProgress(p loadgen.Progress, watch *watch) {
	if p.Preparing || p.OutputTPS > 0 || p.InFlight == 0 {
		watch.moved()
	}
	watch.ended(p.Done)
	c.tell(progress{warmup: p.Warmup, preparing: p.Preparing, done: p.Done, failed: p.Failed, total: p.Total,
		inFlight: p.InFlight, ttftMS: p.TTFTms, outputTPS: p.OutputTPS, waiting: watch.waitingNow()})
}
