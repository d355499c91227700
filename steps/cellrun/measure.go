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

	"pipeline/internal/endpoint"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// endpointChanged begins the reason of a measurement whose endpoint became
// another one; sinceSetup ends it if that was before the load.
const (
	endpointChanged = "endpoint_changed: "
	sinceSetup      = " (since setup looked)"
)

// cacheNotReset begins the doubt of a cold cell whose server was not emptied.
const cacheNotReset = "cache_not_reset: "

// A cell is one measurement under way.
type cell struct {
	step     *Step
	env      *steps.Env
	access   endpoint.Access
	client   *endpoint.Client
	identity endpoint.Identity // as setup saw it
	recorded *recording        // what is sent; nil: prompts are made
	model    string            // the served name
	doubts   []string
	folders  []string // of what tools wrote
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
	if c.recorded, err = s.record(env); err != nil {
		return nil, err
	}
	if c.identity, err = endpoint.ParseIdentity(text); err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", setup.Step, err, steps.ErrPermanent)
	}
	for _, m := range c.identity.Mismatches() {
		c.doubt("mismatch: %s", m)
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
func (c *cell) measure(ctx context.Context) (*perf.Measurement, perf.Stream, error) {
	c.enter(phaseBefore)
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
	m, requests, err := c.drive(ctx, drivers()[c.step.Driver], before)
	if second, asked := drivers()[c.step.CrossCheck]; asked && err == nil && m.Status != perf.Failed && ctx.Err() == nil {
		err = c.crossCheck(ctx, m, second)
	}
	return m, requests, err
}

// crossCheck has a second driver measure the cell too. That it fails is a doubt
// about the first, and no more.
func (c *cell) crossCheck(ctx context.Context, m *perf.Measurement, second driver) error {
	before, err := c.probe(ctx)
	var other *perf.Measurement
	if err == nil {
		other, _, err = c.drive(ctx, second, before)
	}
	switch {
	case ctx.Err() != nil:
		cutShort(m, fmt.Sprintf("cut_short: in the cross-check: %v", context.Cause(ctx)))
		return nil
	case errors.Is(err, steps.ErrPermanent):
		return fmt.Errorf("cross-check: %w", err)
	case err != nil:
		other = &perf.Measurement{Status: perf.Failed, Driver: second.name(c), Reasons: []string{err.Error()}}
	}
	m.CheckBy(other)
	c.foundCached(m, other)
	return nil
}

// foundCached says that the second driver sent the recorded prompts that the
// first had sent before, to a server that may have kept them: its figures are
// not of a cold cache then, whatever they agree on.
func (c *cell) foundCached(m, other *perf.Measurement) {
	notReset := func(d string) bool { return strings.HasPrefix(d, cacheNotReset) }
	if c.recorded == nil || c.step.CacheRegime != cold || !slices.ContainsFunc(other.Doubts, notReset) {
		return
	}
	m.Doubts = append(m.Doubts, fmt.Sprintf("cross_check_cached: %s sent the conversations that %s had sent before, and the prefix cache could not be emptied between them: it may have found them there, and what the two differ by is partly the cache's",
		other.Driver.Name, m.Driver.Name))
}

// drive has a driver put the load on the endpoint, and judges what it saw.
func (c *cell) drive(ctx context.Context, by driver, before endpoint.Observation) (*perf.Measurement, perf.Stream, error) {
	watch, loadCtx := newWatch(ctx, c.patience())
	meter := newMeter(c.client, time.Duration(c.step.ScrapeInterval), watch, c.enter)
	c.enter(phaseRun)
	l, err := by.load(loadCtx, c, meter, watch)
	meter.stop()
	stall, isStalled := context.Cause(loadCtx).(*stalled)
	watch.end()
	switch {
	case ctx.Err() != nil && l == nil:
		return nil, nil, ctx.Err()
	case l == nil && isStalled:
		l = &load{requests: perf.Slice(nil), start: c.env.Now(), end: c.env.Now(), driver: by.name(c)}
	case ctx.Err() == nil && err != nil:
		return nil, nil, c.explain(fmt.Errorf("put the load on %s: %w", c.client.URL(), err))
	}
	c.enter(phaseDownload)
	n, err := l.count()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read what %s recorded: %w", l.driver.Name, err)
	case ctx.Err() != nil && n.measured == 0:
		return nil, nil, ctx.Err()
	}
	m, err := c.assess(l, n, meter)
	if err != nil {
		return nil, nil, err
	}
	if isStalled {
		cutShort(m, stall.Error())
		c.rootCause(m)
	}
	if ctx.Err() == nil {
		c.after(ctx, m, before, meter)
	}
	if ctx.Err() != nil {
		cutShort(m, fmt.Sprintf("cut_short: %v", context.Cause(ctx)))
	}
	m.Doubts = append(m.Doubts, c.doubts...)
	c.doubts = nil
	return m, l.requests, nil
}

// patience is how long nothing may move. A request that pauses ends by itself
// at the stall timeout; what does not even do that is cut a little later. In an
// open loop the next arrival may be far away.
func (c *cell) patience() time.Duration {
	limit := time.Duration(c.step.StallTimeout)
	if limit > 0 && c.step.RequestRate > 0 {
		limit += time.Duration(longestGap / c.step.RequestRate * float64(time.Second))
	}
	return limit + limit/4
}

// longestGap is how many mean gaps a gap between Poisson arrivals stays below,
// but for one in 20,000: exp(-10).
const longestGap = 10

func (c *cell) probe(ctx context.Context) (endpoint.Observation, error) {
	return endpoint.Probe(ctx, c.client, endpoint.Options{Log: c.access.Log, Model: c.model, ReadyTimeout: time.Duration(c.step.ReadyTimeout)})
}

// salt is a text of this measurement alone.
func (c *cell) salt() string {
	return fmt.Sprintf("%s %d", c.env.Campaign.RunID, c.env.Now().UnixNano())
}

// emptyCache has the server forget its prefixes, if the cell is cold. It
// reports whether it did.
func (c *cell) emptyCache(ctx context.Context) bool {
	if c.step.CacheRegime != cold {
		return false
	}
	err := c.client.ResetPrefixCache(ctx)
	if err != nil {
		prompts := "the prompts are new to the server, apart from what they share"
		if c.recorded != nil {
			prompts = "the prompts are those of the data set, which the server may have seen before"
		}
		c.doubt(cacheNotReset+"the prefix cache was not emptied (%v); %s", err, prompts)
	}
	return err == nil
}

// assess turns what the driver saw into a measurement.
func (c *cell) assess(l *load, n counts, meter *meter) (*perf.Measurement, error) {
	asked := c.workload()
	if c.recorded == nil {
		asked.DatasetDigest = l.prompts
	}
	if l.judge == nil {
		l.judge = func(asked perf.Workload) (perf.Measurement, error) { return perf.AssessStream(l.requests, asked, nil) }
	}
	m, err := l.judge(asked)
	if err != nil {
		return nil, fmt.Errorf("read what %s recorded: %w", l.driver.Name, err)
	}
	m.Simulated = m.Simulated || l.simulated || c.identity.Value(endpoint.Simulated) == "true"
	m.Setting = c.setting(m.Asked, l.driver)
	m.Driver = l.driver
	m.Start, m.End = l.start, l.end
	m.Doubts = append(m.Doubts, l.doubts...)
	if m.Status == perf.Failed && l.failure != "" {
		m.Failure, m.Reasons = l.failure, []string{l.failure}
	}
	lower(&m, l.reasons...)
	c.limitErrors(&m)
	if meter.server != nil || m.Server == nil {
		m.Server = meter.server
	}
	c.generationRate(&m, l)
	c.doubts = append(c.doubts, meter.doubts...)
	m.Doubts = append(m.Doubts, perf.ReconcileCounts(n.answered+l.beside.answered, n.tokens+l.beside.tokens, meter.server)...)
	c.judgeCache(&m)
	if m.Summary.Errors > 0 && m.Status != perf.Full {
		c.rootCause(&m)
	}
	return &m, nil
}

// generationRate is what the server generated a second, by its own count, where
// that is of the measured load alone.
func (c *cell) generationRate(m *perf.Measurement, l *load) {
	seconds := l.end.Sub(l.start).Seconds()
	switch s := m.Server; {
	case s == nil || s.GenerationTokens == nil || seconds <= 0:
	case l.warmupToo && c.step.Warmup > 0:
		s.Missing = append(s.Missing, "generation_tps: the counters hold the warm-up too")
	default:
		s.GenerationTPS = new(*s.GenerationTokens / seconds)
	}
}

// lower makes a full measurement a part, for the reasons given.
func lower(m *perf.Measurement, reasons ...string) {
	if len(reasons) == 0 {
		return
	}
	if m.Status == perf.Full {
		m.Status = perf.Partial
	}
	m.Reasons = append(m.Reasons, reasons...)
}

// limitErrors applies a limit of the spec that is below the general one.
func (c *cell) limitErrors(m *perf.Measurement) {
	failed, all := m.Summary.Errors, m.Summary.Errors+m.Summary.Requests
	if m.Status == perf.Full && all > 0 && float64(failed)/float64(all) > c.step.MaxErrorRate {
		lower(m, fmt.Sprintf("errors: %d of %d requests failed; max_error_rate is %g", failed, all, c.step.MaxErrorRate))
	}
}

// rootCause takes what the server's log says, which is nearer to the cause
// than what the client saw. The end of that log stays in the node's log.
func (c *cell) rootCause(m *perf.Measurement) {
	if cause := c.access.Cause(); cause != "" {
		m.Failure = cause
		c.env.Log.Error("the endpoint failed under the load", "cause", cause, "log_tail", c.access.Tail())
	}
}

// judgeCache doubts a cell whose prefix cache was not in the state asked, by
// the server's counters or else by the usage of the requests.
func (c *cell) judgeCache(m *perf.Measurement) {
	doubt := func(format string, a ...any) { m.Doubts = append(m.Doubts, fmt.Sprintf(format, a...)) }
	rate := m.Summary.PrefixHitRate
	if m.Server != nil && m.Server.PrefixHitRate != nil {
		rate = m.Server.PrefixHitRate
	}
	isl, shared := float64(c.step.ISL), c.natural()
	if c.recorded != nil {
		isl = float64(c.recorded.isl)
	}
	switch {
	case c.step.CacheRegime == warm && rate == nil:
		doubt("warm_unknown: the server does not tell what it found in its prefix cache, which may have been cold")
	case c.step.CacheRegime == warm && *rate < perf.WarmHits:
		doubt("not_warm: %.0f%% of the input tokens were in the prefix cache; play the same cell before, or let the server cache more", 100**rate)
	case c.step.CacheRegime == cold && rate != nil && *rate > shared+max(perf.ColdHits, perf.ColdTokens/isl):
		doubt("not_cold: %.0f%% of the input tokens were in the prefix cache, and the prompts share %.0f%%", 100**rate, 100*shared)
	}
}

// cutShort marks a measurement that was stopped: by its time-out, by the user,
// or because nothing moved any more. What had ended by then stays, as a part.
func cutShort(m *perf.Measurement, why string) {
	if m.Status == perf.Full {
		m.Status = perf.Partial
	}
	if m.Status == perf.Failed && m.Summary.Errors == 0 {
		m.Failure = why
	}
	m.Reasons = append([]string{why}, m.Reasons...)
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
		lower(m, fmt.Sprintf("endpoint_lost: after the load: %v", err))
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
	asked, driver := c.workload(), drivers()[c.step.Driver].name(c)
	return &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Failed, Reasons: []string{why}, Failure: why, Asked: asked,
		Simulated: c.identity.Value(endpoint.Simulated) == "true", Setting: c.setting(asked, driver), Driver: driver, Doubts: c.doubts,
	}
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
func (c *cell) write(m *perf.Measurement, requests perf.Stream) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", measurementFile, err)
	}
	err = c.env.Write(measurementFile, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	if err != nil || !c.step.KeepRequests || requests == nil {
		return err
	}
	return c.env.Write(requestsFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for r, err := range requests(c.step.KeepChunks) {
			if err != nil {
				return err
			}
			line := *r
			if !c.step.KeepChunks {
				line.ChunkNS = nil
			}
			if err := enc.Encode(&line); err != nil {
				return err
			}
		}
		return nil
	})
}
