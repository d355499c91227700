package dcgmcorrelate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/prom"
	"pipeline/steps"
)

const queryTimeout = 30 * time.Second

// access reads the secrets by their names. Without secret it only checks the
// address.
func (p *Prometheus) access(secret func(string) (string, error), resolve func(string) string) (*prom.Store, error) {
	a := prom.Access{URL: p.URL, Insecure: p.Insecure, Timeout: cmp.Or(time.Duration(p.Timeout), queryTimeout)}
	if secret == nil {
		return prom.NewStore(a)
	}
	for _, s := range []struct {
		name  steps.EnvName
		param string
		value *string
	}{{p.TokenEnv, "token_env", &a.Token}, {p.UserEnv, "user_env", &a.User}, {p.PasswordEnv, "password_env", &a.Password}} {
		if s.name == "" {
			continue
		}
		v, err := secret(string(s.name))
		if err != nil {
			return nil, fmt.Errorf("prometheus.%s: %w", s.param, err)
		}
		*s.value = v
	}
	if p.CAFile != "" {
		a.CAFile = resolve(string(p.CAFile))
	}
	return prom.NewStore(a)
}

// asking is one conversation with Prometheus about a cell.
type asking struct {
	*prom.Store
	step     *Step
	cell     *cell
	from, to time.Time
}

// Around the load, so that collections that lie wholly before and after it are
// there to be seen.
const (
	edgeIntervals  = 4
	defaultCollect = 30 * time.Second // dcgm-exporter's own default of -c
)

// ask has Prometheus give the samples of the nodes that the cell's GPUs are on.
// A server that cannot be reached is a gap; so is one that has no series.
func (s *Step) ask(ctx context.Context, env *steps.Env, c *cell) (f *found, why, how string, err error) {
	store, err := s.Prometheus.access(env.Secret, env.Resolve)
	if err != nil {
		return nil, "", "", fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	margin := edgeIntervals * defaultCollect
	if s.CollectInterval > 0 {
		margin = max(5*time.Second, edgeIntervals*time.Duration(s.CollectInterval))
	}
	a := &asking{Store: store, step: s, cell: c, from: c.cell.Full.Start.Add(-margin), to: c.cell.Full.End.Add(margin)}
	f = &found{samples: &dcgm.Samples{}, source: dcgm.Source{Kind: dcgm.FromPrometheus, Host: store.Host(), API: "/api/v1/query"}, versions: map[string]string{}}
	unreachable := "check prometheus.url, and that it scrapes dcgm-exporter; the next run asks again"
	skew, err := a.Skew(ctx, env.Now)
	if err != nil {
		return f, err.Error(), unreachable, ctx.Err()
	}
	f.source.SkewS = float64(skew.Milliseconds()) / 1e3
	scope, err := a.scope(ctx)
	if err != nil {
		return f, err.Error(), unreachable, ctx.Err()
	}
	if scope == "" {
		return f, fmt.Sprintf("Prometheus at %s has no series of %s for %s from %s to %s", store.Host(), dcgm.GR.Names()[0], a.wanted(), a.from.UTC().Format(time.RFC3339), a.to.UTC().Format(time.RFC3339)),
			"check that it scrapes dcgm-exporter on the node, and which labels its series have", nil
	}
	for _, field := range dcgm.Asked() {
		if err := a.field(ctx, f, field, scope); err != nil {
			return f, err.Error(), unreachable, ctx.Err()
		}
	}
	maps.Copy(f.versions, f.samples.Versions())
	if v := store.Version(ctx); v != "" {
		f.versions["prometheus"] = v
	}
	return f, "", "", nil
}

// field asks for the samples of one field.
func (a *asking) field(ctx context.Context, f *found, field dcgm.Field, scope string) error {
	series, query, err := a.Raw(ctx, a.selector(field, scope), a.from, a.to)
	if err != nil {
		return err
	}
	q := dcgm.Query{Field: field, PromQL: query, Series: len(series)}
	for _, s := range series {
		q.Name = s.Labels["__name__"]
		q.Samples += len(s.T)
		for i := range s.T {
			f.samples.Add(q.Name, s.Labels, s.T[i], s.V[i])
		}
	}
	f.queries = append(f.queries, q)
	return nil
}

// selector selects a field by either of its names.
func (a *asking) selector(field dcgm.Field, scope string) string {
	name := `__name__=~"` + strings.Join(field.Names(), "|") + `"`
	matchers := []string{name}
	for _, k := range slices.Sorted(maps.Keys(a.step.Prometheus.Labels)) {
		matchers = append(matchers, k+"="+strconv.Quote(a.step.Prometheus.Labels[k]))
	}
	if scope != all {
		matchers = append(matchers, scope)
	}
	return "{" + strings.Join(matchers, ",") + "}"
}

// all is the scope of a source in which nothing names the cell's GPUs.
const all = "all"

// wanted says by what GPUs are looked for.
func (a *asking) wanted() string {
	switch sel := a.cell.selection; {
	case len(sel.UUIDs) > 0:
		return "UUIDs " + strings.Join(sel.UUIDs, ", ")
	case sel.Node != "":
		return "node " + sel.Node
	case len(sel.Pods) > 0:
		return "pods " + strings.Join(sel.Pods, ", ")
	}
	return "any GPU"
}

// scope finds the matcher that selects the nodes of the cell's GPUs, all GPUs
// of them, so that neighbours are seen too; "" if no series is there.
func (a *asking) scope(ctx context.Context) (string, error) {
	var selectors []string
	for _, m := range a.matchers() {
		selectors = append(selectors, a.selector(dcgm.GR, m), a.selector(dcgm.GPUTemp, m))
	}
	series, err := a.Series(ctx, selectors, a.from, a.to)
	if err != nil || len(series) == 0 {
		return "", err
	}
	for _, label := range []string{"Hostname", "hostname", "exported_hostname", "exported_Hostname"} {
		var nodes []string
		for _, s := range series {
			if n := s[label]; n != "" && !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
		if len(nodes) > 0 {
			slices.Sort(nodes)
			return oneOf(label, nodes), nil
		}
	}
	for _, m := range a.matchers() { // no node in the labels: the GPUs themselves
		if m == all {
			return all, nil
		}
		if hit, err := a.Series(ctx, []string{a.selector(dcgm.GR, m), a.selector(dcgm.GPUTemp, m)}, a.from, a.to); err != nil || len(hit) > 0 {
			return m, err
		}
	}
	return "", nil
}

// matchers are the ways in which labels may name the cell's GPUs.
func (a *asking) matchers() []string {
	sel := a.cell.selection
	var out []string
	add := func(values []string, labels ...string) {
		for _, l := range labels {
			out = append(out, oneOf(l, values))
		}
	}
	switch {
	case len(sel.UUIDs) > 0:
		add(sel.UUIDs, "UUID", "uuid", "gpu_uuid")
	case sel.Node != "":
		short, _, _ := strings.Cut(sel.Node, ".")
		for _, l := range []string{"Hostname", "hostname", "exported_hostname", "exported_Hostname"} {
			out = append(out, l+"=~"+strconv.Quote(regexp.QuoteMeta(short)+`(\..*)?`))
		}
	case len(sel.Pods) > 0:
		add(sel.Pods, "exported_pod", "pod")
	default:
		return []string{all}
	}
	return out
}

// oneOf matches a label with one of the values.
func oneOf(label string, values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = regexp.QuoteMeta(v)
	}
	if len(values) == 1 {
		return label + "=" + strconv.Quote(values[0])
	}
	return label + "=~" + strconv.Quote(strings.Join(quoted, "|"))
}
