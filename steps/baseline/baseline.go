// Package baseline is the step that brings the baseline into a campaign: the
// rows of one configuration of a published campaign, as the lake has them.
//
// Publishing a campaign is what records a baseline, and naming it here is what
// makes it one: there is no registry beside the lake that could say otherwise.
package baseline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pipeline/lake/perf"
	"pipeline/steps"
)

// A Shelf is where published rows are kept: a lake.
type Shelf interface {
	// Rows returns the rows of a campaign: of its current revision, or of the
	// one whose digest begins with revision.
	Rows(ctx context.Context, schema *perf.Schema, campaign, revision string) ([]perf.Row, perf.Revision, error)
}

// Kind returns the kind "baseline". open gives the lake in a folder.
func Kind(open func(dir string) Shelf) steps.Kind {
	return steps.Kind{
		Name:    "baseline",
		Summary: "bring the baseline from the lake: one configuration of a published campaign",
		Doc: `Reads the rows of the baseline from the lake and writes them for aggregate, which checks
that it was measured, and runs as production would (gate V09, docs/verdict.md).

    - {id: production, uses: baseline, with: {baseline: glm-production/fp8-tp8}}
    - {id: atlas, uses: aggregate, in: {cells: cells, baseline: production}}

A baseline does not move by itself: once read, it stays what it was, also when its
campaign is published again. --force production reads it again; @ and the head of a
digest, as in glm-production/fp8-tp8@3fa91c, names one revision for good.

A baseline that is a configuration of the same campaign needs no step: name it as
baseline of aggregate.`,
		Version: 1,
		Effect:  steps.Observe,
		Outputs: []steps.Output{{Name: "atlas.json", Doc: "the rows of the baseline, of atlas_v1"}},
		New:     func() steps.Step { return &Step{open: open} },
	}
}

// Step names the baseline.
type Step struct {
	Baseline string `json:"baseline" key:"yes" required:"true" doc:"CAMPAIGN/CONFIG of the lake, and @REVISION for one that never changes."`
	LakeDir  string `json:"lake_dir" key:"no" doc:"Folder of the lake; the folder lake in the home of the run if empty."`

	open func(dir string) Shelf
}

var nameRE = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)/([^@]+)(?:@([0-9a-f]{4,64}))?$`)

// Check implements steps.Checker.
func (s *Step) Check() error {
	if !nameRE.MatchString(s.Baseline) {
		return &steps.ParamError{Param: "baseline", Err: errors.New("it is not of the form CAMPAIGN/CONFIG or CAMPAIGN/CONFIG@REVISION, the revision being 4 hexadecimal digits or more")}
	}
	return nil
}

// Fixed implements steps.Fixed: a revision never changes.
func (s *Step) Fixed() bool { return strings.Contains(s.Baseline, "@") }

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	m := nameRE.FindStringSubmatch(s.Baseline)
	campaign, config, revision := m[1], m[2], m[3]
	dir := filepath.Join(env.Campaign.Home, "lake")
	if s.LakeDir != "" {
		dir = env.Resolve(s.LakeDir)
	}
	rows, rev, err := s.open(dir).Rows(ctx, perf.Atlas(), campaign, revision)
	if err != nil {
		return fmt.Errorf("read the baseline %s: %w: %w", s.Baseline, err, steps.ErrPermanent)
	}
	var configs []string
	for _, r := range rows {
		configs = append(configs, r.Text("config"))
	}
	rows = slices.DeleteFunc(rows, func(r perf.Row) bool { return r.Text("config") != config })
	if len(rows) == 0 {
		slices.Sort(configs)
		return fmt.Errorf("campaign %s has no configuration %s; it has %s: %w", campaign, config, strings.Join(slices.Compact(configs), ", "), steps.ErrPermanent)
	}
	if rows[0].Text("verdict_tier") != string(perf.TierVerdict) {
		env.Doubt("the baseline %s is itself a draft: verdict_refusals of its rows says why", s.Baseline)
	}
	env.Log.Info("baseline", "campaign", campaign, "config", config, "revision", rev.Digest.Short(), "rows", len(rows))
	text, err := perf.EncodeRows(perf.Atlas(), rows)
	if err != nil {
		return err
	}
	return env.Put("atlas.json", text)
}
