// Package publish is the step that puts a campaign into the lake: its rows of
// atlas_v1, and one row of campaign_v1 that says what the campaign is, how
// complete it is, and what it is missing.
//
// It never refuses by default: a gap is written on the row and warned about.
// With strict it refuses instead.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/internal/frontier"
	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A Sink is where rows are published: a lake.
type Sink interface {
	// Publish makes rows the current revision of the campaign in a table. Rows
	// that are current already are left as they are. source names what they
	// were made from.
	Publish(ctx context.Context, schema *perf.Schema, campaign string, rows []perf.Row, source digest.Digest) (perf.Revision, error)
	// Holds reports whether the current revision was made from source, and is
	// undamaged. It is asked on each run, and should read no rows.
	Holds(schema *perf.Schema, campaign string, source digest.Digest) (bool, error)
}

// version is raised when the same inputs should give other rows.
const version = 2

// Kind returns the kind "publish". open gives the lake in a folder, which need
// not exist.
func Kind(open func(dir string) Sink) steps.Kind {
	return steps.Kind{
		Name:    "publish",
		Summary: "put the rows and the campaign into the lake",
		Doc: `Writes the rows of the atlas to atlas_v1 and one row to campaign_v1, as Parquet, and
makes them the current revision of the campaign. Rows that are there already are
left alone; other rows of the same campaign are superseded and stay in the lake.

What is missing (cells that failed, no report, pages omitted) is written on the
campaign's row and warned about, and so is what keeps the campaign a draft and no
verdict (docs/verdict.md). With strict: true, cells that are not FULL, cells that
cannot be plotted, a missing report and a draft are an error, and nothing is written.

What is simulated is marked so in each row. A measured row that does not say
whether it is simulated is refused.`,
		Version: version,
		Effect:  steps.Publish,
		Ports: []steps.Port{
			{Name: "atlas", Doc: "an aggregate step: its rows and its verdict", Required: true, Reads: []string{"atlas.json"}},
			{Name: "report", Doc: "a render step", Gaps: true, Reads: []string{"report_status.json"}},
		},
		Outputs: []steps.Output{
			{Name: "published.json", Doc: "what landed: table, path in the lake, digest, rows"},
		},
		New: func() steps.Step { return &Step{open: open} },
	}
}

// Step holds the parameters of one run.
type Step struct {
	Strict  bool   `json:"strict" key:"no" doc:"Refuse to publish if something is missing, or if the campaign is a draft and no verdict."`
	LakeDir string `json:"lake_dir" key:"no" doc:"Folder of the lake; the folder lake in the home of the run if empty."`

	open func(dir string) Sink
}

// Published is published.json.
type Published struct {
	Schema    string          `json:"schema"`
	Campaign  string          `json:"campaign"`
	Simulated bool            `json:"simulated"`
	Tier      perf.Tier       `json:"verdict_tier"`
	Revisions []perf.Revision `json:"revisions"`
	Gaps      []string        `json:"gaps"`
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	p, err := s.prepare(env)
	if err != nil {
		return err
	}
	if err := p.strict(); s.Strict && err != nil {
		return err
	}
	for _, g := range p.gaps {
		env.Doubt("published with a gap: %s", g)
	}
	if p.draft() {
		env.Doubt("published as a draft: it fails %s; verdict_refusals of its rows and page 1 of the report say why, and what to do", strings.Join(p.review.Codes(), ", "))
	}
	if pages := p.omitted(); pages != "" {
		env.Doubt("the report leaves out %s: report_status.json says why and how to get them", pages)
	}
	p.campaign.SetTime("published_at", env.Now())
	out := Published{Schema: "published/v1", Campaign: env.Campaign.Name, Gaps: p.gaps, Simulated: p.simulated(), Tier: p.review.Tier}
	source, err := sourceOf(env)
	if err != nil {
		return err
	}
	sink := s.sink(env)
	for _, t := range p.tables() {
		rev, err := sink.Publish(ctx, t.schema, env.Campaign.Name, t.rows, source)
		if err != nil {
			return err
		}
		env.Log.Info("published", "table", rev.Table, "path", rev.Path, "rows", rev.Rows)
		out.Revisions = append(out.Revisions, rev)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	w, err := env.Create("published.json")
	if err != nil {
		return fmt.Errorf("create published.json: %w", err)
	}
	if _, err := w.Write(append(text, '\n')); err != nil {
		return errors.Join(fmt.Errorf("write published.json: %w", err), w.Close())
	}
	return w.Close()
}

// Landed implements steps.Landed: the lake's current revisions were made from
// these inputs. A campaign that was published otherwise since, or renamed, has
// not landed; nor, where it is to be strict, has one with gaps.
func (s *Step) Landed(ctx context.Context, env *steps.Env) (bool, error) {
	if s.Strict {
		if p, err := s.prepare(env); err != nil || p.strict() != nil {
			return false, err
		}
	}
	source, err := sourceOf(env)
	if err != nil {
		return false, err
	}
	for _, schema := range perf.Schemas() {
		if ok, err := s.sink(env).Holds(schema, env.Campaign.Name, source); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// sourceOf names all that the rows are made from, apart from what only says
// when and by whom they are written.
func sourceOf(env *steps.Env) (digest.Digest, error) {
	inputs := map[string]any{}
	for port, ins := range env.In {
		for i, in := range ins {
			artifacts := map[string]any{}
			record(artifacts, &in)
			inputs[fmt.Sprintf("%s/%d", port, i)] = map[string]any{"gap": in.Gap, "artifacts": artifacts}
		}
	}
	text, err := digest.Canonical(map[string]any{
		"version": version, "campaign": env.Campaign.Name, "focus": env.Campaign.Focus, "labels": env.Campaign.Labels, "inputs": inputs,
	})
	if err != nil {
		return digest.Digest{}, fmt.Errorf("name the source of the rows: %w", err)
	}
	return digest.Of(text), nil
}

func (s *Step) sink(env *steps.Env) Sink {
	if s.LakeDir != "" {
		return s.open(env.Resolve(s.LakeDir))
	}
	return s.open(filepath.Join(env.Campaign.Home, "lake"))
}

// publication is all that one run publishes.
type publication struct {
	atlas    []perf.Row
	campaign perf.Row
	gaps     []string
	review   *perf.Review       // of the rows
	status   *report.Status     // nil without a report
	frontier *frontier.Frontier // nil if no atlas brought one, or several did
}

type table struct {
	schema *perf.Schema
	rows   []perf.Row
}

// tables lists what is published, the campaign's row last: it says that the
// others are there.
func (p *publication) tables() []table {
	return []table{{perf.Atlas(), p.atlas}, {perf.Campaigns(), []perf.Row{p.campaign}}}
}

func (p *publication) simulated() bool { v, _ := p.campaign.Bool("simulated"); return v }

func (p *publication) draft() bool { return p.review.Tier != perf.TierVerdict }

// strict refuses gaps, and what is a draft.
func (p *publication) strict() error {
	what, why := []string{}, slices.Clone(p.gaps)
	if n := len(p.gaps); n > 0 {
		what = append(what, fmt.Sprintf("%d gaps", n))
	}
	if p.draft() {
		what = append(what, "a draft")
		for _, g := range perf.GroupRefusals(p.review.Refusals) {
			why = append(why, g.String())
		}
	}
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("strict: %s, nothing was published: %s: %w", strings.Join(what, " and "), strings.Join(why, "; "), steps.ErrPermanent)
}

func (p *publication) omitted() string {
	if p.status == nil {
		return ""
	}
	var names []string
	for _, page := range p.status.OmittedPages() {
		names = append(names, "page "+page.ID+" ("+page.Title+")")
	}
	return strings.Join(names, ", ")
}

// prepare makes the rows from the inputs.
func (s *Step) prepare(env *steps.Env) (*publication, error) {
	p := &publication{}
	lineage := map[string]any{}
	var reviews []*perf.Review
	for i := range env.In["atlas"] {
		in := &env.In["atlas"][i]
		atlas, err := in.ReadAll("atlas.json")
		if err != nil {
			return nil, fmt.Errorf("read atlas.json of step %s: %w", in.Step, err)
		}
		verdict, err := in.ReadIf("verdict.json")
		if err != nil {
			return nil, fmt.Errorf("read verdict.json of step %s: %w", in.Step, err)
		}
		rows, review, err := perf.ReadAtlas(atlas, verdict)
		if err != nil {
			return nil, fmt.Errorf("read atlas.json of step %s: %w", in.Step, err)
		}
		p.atlas = append(p.atlas, rows...)
		reviews = append(reviews, review)
		record(lineage, in)
		if err := p.readFrontier(in, len(env.In["atlas"])); err != nil {
			return nil, err
		}
	}
	p.review = perf.MergeReviews(reviews...)
	for _, r := range p.atlas {
		if err := markedRow(r); err != nil {
			return nil, err
		}
		r.SetText("campaign", env.Campaign.Name)
		if r.IsNull("focus") {
			r.SetText("focus", env.Campaign.Focus)
		}
	}
	perf.SortRows(p.atlas)
	p.gaps = report.Gaps(p.atlas)
	if p.frontier != nil && p.frontier.State == frontier.Required {
		p.gaps = append(p.gaps, p.frontier.Text)
	}
	reportSum, err := p.readReport(env, lineage)
	if err != nil {
		return nil, err
	}
	p.campaign, err = p.campaignRow(env, lineage, reportSum)
	if err != nil {
		return nil, err
	}
	p.campaign.SetBool("strict", s.Strict)
	return p, nil
}

// readFrontier reads what an atlas says to try next. Of several atlases none
// speaks for all.
func (p *publication) readFrontier(in *steps.Input, atlases int) error {
	if _, ok := in.Artifact("frontier.json"); !ok || atlases != 1 {
		return nil
	}
	text, err := in.ReadAll("frontier.json")
	if err != nil {
		return fmt.Errorf("read frontier.json of step %s: %w", in.Step, err)
	}
	p.frontier, err = frontier.Read(text)
	return err
}

func record(lineage map[string]any, in *steps.Input) {
	for _, a := range in.Artifacts {
		if !a.Volatile {
			lineage[a.Name] = a.Digest.String()
		}
	}
}

// markedRow refuses a measured row that does not say whether it is simulated.
func markedRow(r perf.Row) error {
	if _, ok := r.Bool("simulated"); !ok && r.Text("status") != string(perf.Missing) {
		return fmt.Errorf("row %s is not marked as simulated or real, and cannot be published: run aggregate again: %w", r.Text("cell_id"), steps.ErrPermanent)
	}
	return nil
}

// readReport reads the status of the report, if there is one. Its absence is a
// gap.
func (p *publication) readReport(env *steps.Env, lineage map[string]any) (htmlSum string, err error) {
	ins := env.In["report"]
	if len(ins) == 0 {
		p.gaps = append(p.gaps, "there is no report: wire a render step to the port report")
		return "", nil
	}
	in := &ins[0]
	if in.Gap != "" {
		p.gaps = append(p.gaps, "there is no report: "+in.Gap)
		return "", nil
	}
	text, err := in.ReadAll("report_status.json")
	if errors.Is(err, fs.ErrNotExist) {
		p.gaps = append(p.gaps, "the report has no report_status.json")
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read report_status.json: %w", err)
	}
	if p.status, err = report.ReadStatus(text); err != nil {
		return "", err
	}
	record(lineage, in)
	if a, ok := in.Artifact("report.html"); ok {
		htmlSum = a.Digest.String()
	}
	return htmlSum, nil
}
