package cellrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/endpoint"
	"pipeline/internal/loadgen"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// endpointChanged begins the reason of a measurement whose endpoint became
// another one; sinceSetup ends it if that was before the load.
const (
	endpointChanged = "endpoint_changed: "
	sinceSetup      = " (since setup looked)"
)

// A cell is one measurement under way.
type cell struct {
	step     *Step
	env      *steps.Env
	access   endpoint.Access
	client   *endpoint.Client
	identity endpoint.Identity // as setup saw it
	model    string            // the served name
	doubts   []string
}

func newCell(s *Step, env *steps.Env) (*cell, error) {
	server, err := one(env, "server")
	if err != nil {
		return nil, err
	}
	setup, err := one(env, "setup")
	if err != nil {
		return nil, err
	}
	text, err := setup.ReadAll(identityFile)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", identityFile, setup.Step, err)
	}
	c := &cell{step: s, env: env}
	if c.identity, err = endpoint.ParseIdentity(text); err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", setup.Step, err, steps.ErrPermanent)
	}
	if c.model = c.identity.Values[endpoint.Model]; c.model == "" {
		return nil, fmt.Errorf("identity of step %s names no model: %w", setup.Step, steps.ErrPermanent)
	}
	if c.access, err = endpoint.AccessOf(server.Live, env.Secret); err != nil {
		return nil, err
	}
	c.client, err = endpoint.NewClient(c.access)
	return c, err
}

func one(env *steps.Env, port string) (*steps.Input, error) {
	in := env.In[port]
	if len(in) != 1 {
		return nil, fmt.Errorf("port %s has %d inputs, and a cell is measured against one endpoint: give this step the axes of the step wired there: %w",
			port, len(in), steps.ErrPermanent)
	}
	return &in[0], nil
}

func (c *cell) doubt(format string, a ...any) { c.doubts = append(c.doubts, fmt.Sprintf(format, a...)) }

// measure puts the load on the endpoint. An error means that there is nothing
// to write: the endpoint cannot be reached, or ctx has ended before a request
// was measured.
func (c *cell) measure(ctx context.Context) (*perf.Measurement, []perf.Request, error) {
	before, err := c.probe(ctx)
	if err != nil {
		return nil, nil, c.explain(fmt.Errorf("before the load: %w", err))
	}
	if changes := endpoint.Diff(c.identity, before.Identity.Carry(c.identity)); len(changes) > 0 {
		now := c.env.Now().UTC()
		m := c.failed(endpointChanged + list(changes) + sinceSetup)
		m.Start, m.End = now, now
		return m, nil, nil
	}
	meter := newMeter(c.client, time.Duration(c.step.ScrapeInterval))
	result, err := loadgen.Run(ctx, c.config(ctx, meter))
	meter.stop()
	_, measured := outcome(result.Requests)
	switch {
	case ctx.Err() != nil && measured == 0:
		return nil, nil, ctx.Err()
	case ctx.Err() == nil && err != nil:
		return nil, nil, c.explain(fmt.Errorf("put the load on %s: %w", c.client.URL(), err))
	}
	m := c.assess(result, meter)
	if ctx.Err() == nil {
		c.after(ctx, m, before, meter)
	}
	if ctx.Err() != nil {
		cutShort(m, context.Cause(ctx))
	}
	m.Doubts = append(m.Doubts, c.doubts...)
	return m, result.Requests, nil
}

func (c *cell) probe(ctx context.Context) (endpoint.Observation, error) {
	return endpoint.Probe(ctx, c.client, endpoint.Options{Model: c.model, ReadyTimeout: time.Duration(c.step.ReadyTimeout)})
}

// config is the run of the load generator.
func (c *cell) config(ctx context.Context, meter *meter) loadgen.Config {
	s := c.step
	conf := loadgen.Config{
		BaseURL: c.client.URL(), Model: c.model, Workload: s.workload(),
		Token: loadgen.Token(c.access.APIKey),
		TLS:   loadgen.TLS{CAFile: c.access.CAFile, InsecureSkipVerify: c.access.Insecure},
		Stall: time.Duration(s.StallTimeout), Calibrate: s.Calibrate,
		BeforeMeasured: func() error {
			c.emptyCache(ctx)
			meter.begin(ctx)
			return nil
		},
		AfterMeasured: func() { meter.end(ctx) },
		OnProgress:    c.progress,
	}
	if s.CacheRegime == cold {
		// Prompts of this run alone, so that nothing of them is cached even
		// where the cache cannot be emptied.
		conf.Salt = fmt.Sprintf("%s %d", c.env.Campaign.RunID, c.env.Now().UnixNano())
	}
	return conf
}

// emptyCache is done after the warm-up, which fills the cache.
func (c *cell) emptyCache(ctx context.Context) {
	if c.step.CacheRegime != cold {
		return
	}
	if err := c.client.ResetPrefixCache(ctx); err != nil {
		c.doubt("cache_not_reset: the prefix cache was not emptied (%v); the prompts are new to the server, apart from what they share", err)
	}
}

func (c *cell) progress(p loadgen.Progress) {
	text := fmt.Sprintf("%d in flight", p.InFlight)
	if p.Preparing {
		text = "fitting prompts"
	} else if p.TTFTms > 0 {
		text = fmt.Sprintf("TTFT %.0f ms, %.0f tok/s", p.TTFTms, p.OutputTPS)
	}
	if p.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Failed)
	}
	unit := "requests"
	if p.Warmup {
		unit = "warm-up requests"
	}
	c.env.Progress(steps.Progress{Done: p.Done, Total: p.Total, Unit: unit, Text: text})
}

// assess turns what the driver saw into a measurement.
func (c *cell) assess(r loadgen.Result, meter *meter) *perf.Measurement {
	asked := c.step.workload()
	asked.DatasetDigest = r.PromptDigest
	m := perf.Assess(r.Requests, asked, &r.Client)
	m.Simulated = r.Simulated || c.identity.Value(endpoint.Simulated) == "true"
	m.Setting = c.setting(asked)
	m.Driver = c.driver()
	m.Start, m.End = r.Start, r.End
	m.Doubts = append(m.Doubts, r.Doubts...)
	c.limitErrors(&m, r.Requests)
	m.Server = meter.server
	c.doubts = append(c.doubts, meter.doubts...)
	measured := slices.DeleteFunc(slices.Clone(r.Requests), func(r perf.Request) bool { return r.Warmup })
	m.Doubts = append(m.Doubts, perf.Reconcile(measured, m.Server)...)
	c.judgeCache(&m)
	if failed, _ := outcome(r.Requests); failed > 0 && m.Status != perf.Full {
		c.rootCause(&m)
	}
	return &m
}

// outcome counts the measured requests.
func outcome(requests []perf.Request) (failed, all int) {
	for i := range requests {
		if requests[i].Warmup {
			continue
		}
		all++
		if !requests[i].OK() {
			failed++
		}
	}
	return failed, all
}

// limitErrors applies a limit of the spec that is below the general one.
func (c *cell) limitErrors(m *perf.Measurement, requests []perf.Request) {
	failed, all := outcome(requests)
	if m.Status != perf.Full || all == 0 || float64(failed)/float64(all) <= c.step.MaxErrorRate {
		return
	}
	m.Status = perf.Partial
	m.Reasons = append(m.Reasons, fmt.Sprintf("errors: %d of %d requests failed; max_error_rate is %g", failed, all, c.step.MaxErrorRate))
}

// rootCause takes what the server's log says, which is nearer to the cause
// than what the client saw. The end of that log stays in the node's log.
func (c *cell) rootCause(m *perf.Measurement) {
	if cause := c.access.Cause(); cause != "" {
		m.Failure = cause
		c.env.Log.Error("the endpoint failed under the load", "cause", cause, "log_tail", c.access.Tail())
	}
}

// What a cold cell may find in the prefix cache beyond what its prompts share:
// the tokens of the chat template, and of the block in which they end.
const (
	coldHits   = 0.05 // of the input tokens
	coldTokens = 64
)

// warmHits is the share of the input tokens that a warm cell finds in the
// prefix cache at least. A warm server misses the end of each prompt, which
// fills no block, and what was evicted; one that misses more than half was as
// good as cold.
const warmHits = 0.5

// judgeCache doubts a cell whose prefix cache was not in the state asked, by
// the server's counters or else by the usage of the requests.
func (c *cell) judgeCache(m *perf.Measurement) {
	doubt := func(format string, a ...any) { m.Doubts = append(m.Doubts, fmt.Sprintf(format, a...)) }
	rate := m.Summary.PrefixHitRate
	if m.Server != nil && m.Server.PrefixHitRate != nil {
		rate = m.Server.PrefixHitRate
	}
	isl := float64(c.step.ISL)
	shared := float64(c.step.SharedPrefix) / isl
	switch {
	case c.step.CacheRegime == warm && rate == nil:
		doubt("warm_unknown: the server does not tell what it found in its prefix cache, which may have been cold")
	case c.step.CacheRegime == warm && *rate < warmHits:
		doubt("not_warm: %.0f%% of the input tokens were in the prefix cache; play the same cell before, or let the server cache more", 100**rate)
	case c.step.CacheRegime == cold && rate != nil && c.step.Turns == 1 && *rate > shared+max(coldHits, coldTokens/isl):
		doubt("not_cold: %.0f%% of the input tokens were in the prefix cache, and the prompts share %.0f%%", 100**rate, 100*shared)
	}
}

// cutShort marks a measurement that was stopped, by its time-out or by the
// user. What had ended by then stays, as a part.
func cutShort(m *perf.Measurement, cause error) {
	if m.Status == perf.Full {
		m.Status = perf.Partial
	}
	m.Reasons = append([]string{fmt.Sprintf("cut_short: %v", cause)}, m.Reasons...)
}

// final reports whether to measure again would give the same reasons: they are
// about what the endpoint answers, and not about this time. A client that was
// the bound does not matter beside them.
func final(m *perf.Measurement) bool {
	found := false
	for _, reason := range m.Reasons {
		switch code, _, _ := strings.Cut(reason, ":"); {
		case code == "osl_short", code == "one_token", strings.HasPrefix(reason, endpointChanged) && strings.HasSuffix(reason, sinceSetup):
			found = true
		case code != "client_bound":
			return false
		}
	}
	return found
}

// after compares the endpoint with what it was before the load.
func (c *cell) after(ctx context.Context, m *perf.Measurement, before endpoint.Observation, meter *meter) {
	now, err := c.probe(ctx)
	changed := ""
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		// It may have died under the load: what it answered stays, as a part.
		if m.Status == perf.Full {
			m.Status = perf.Partial
		}
		m.Reasons = append(m.Reasons, fmt.Sprintf("endpoint_lost: after the load: %v", err))
		c.rootCause(m)
		return
	case len(endpoint.Diff(before.Identity, now.Identity)) > 0:
		changed = list(endpoint.Diff(before.Identity, now.Identity))
	case before.Instance != now.Instance || meter.restarted():
		changed = fmt.Sprintf("the server was restarted during the load (started %s, then %s)", before.Instance, now.Instance)
	default:
		return
	}
	// The numbers are of two endpoints. They stay as evidence.
	m.Status = perf.Failed
	m.Failure = endpointChanged + changed
	m.Reasons = append(m.Reasons, m.Failure)
}

// failed is a measurement without a request.
func (c *cell) failed(why string) *perf.Measurement {
	asked := c.step.workload()
	return &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Failed, Reasons: []string{why}, Failure: why, Asked: asked,
		Simulated: c.identity.Value(endpoint.Simulated) == "true", Setting: c.setting(asked), Driver: c.driver(), Doubts: c.doubts,
	}
}

func (c *cell) driver() perf.Driver {
	params, err := digest.Canonical(c.step)
	if err != nil {
		params = []byte(err.Error())
	}
	return perf.Driver{Name: c.step.Driver, Version: fmt.Sprintf("protocol %d", protocol), Command: []string{"cell_run", string(params)}}
}

// explain adds why the server died, where its log tells.
func (c *cell) explain(err error) error {
	if errors.Is(err, endpoint.ErrRefused) {
		return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	if cause := c.access.Cause(); cause != "" {
		return fmt.Errorf("%w; the server's log says: %s", err, cause)
	}
	return err
}

func list(changes []endpoint.Change) string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = c.String()
	}
	return strings.Join(texts, ", ")
}

// write writes the measurement, and the requests a line each.
func (c *cell) write(m *perf.Measurement, requests []perf.Request) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", measurementFile, err)
	}
	err = create(c.env, measurementFile, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	if err != nil || !c.step.KeepRequests || requests == nil {
		return err
	}
	return create(c.env, requestsFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for i := range requests {
			r := requests[i]
			if !c.step.KeepChunks {
				r.ChunkNS = nil
			}
			if err := enc.Encode(&r); err != nil {
				return err
			}
		}
		return nil
	})
}

func create(env *steps.Env, name string, fill func(io.Writer) error) error {
	w, err := env.Create(name)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fill(w); err != nil {
		w.Close()
		return fmt.Errorf("write %s: %w", name, err)
	}
	return w.Close()
}
