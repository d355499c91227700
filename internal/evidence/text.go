package evidence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const stamp = "2006-01-02 15:04:05 UTC"

func utc(t time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return t.UTC().Format(stamp)
}

// doc builds Markdown.
type doc struct{ strings.Builder }

func (d *doc) line(format string, a ...any) { fmt.Fprintf(d, format+"\n", a...) }

func (d *doc) field(name, value string) {
	if value != "" {
		d.line("- %s: %s", name, oneLine(value))
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cell is a text inside a table.
func cell(s string) string { return cmp.Or(strings.ReplaceAll(oneLine(s), "|", `\|`), "–") }

func (d *doc) row(cells ...string) {
	for i := range cells {
		cells[i] = cell(cells[i])
	}
	d.line("| %s |", strings.Join(cells, " | "))
}

func (d *doc) header(cells ...string) {
	d.line("| %s |", strings.Join(cells, " | "))
	d.line("|%s", strings.Repeat("---|", len(cells)))
}

// source says where the numbers come from.
func (b *Bundle) source(r *Result) string {
	a, d := b.About, &doc{}
	d.line("# Source")
	d.line("")
	d.field("intent", a.Intent)
	d.field("family", a.Family)
	d.field("run", a.Run)
	if a.Campaign != "" {
		d.field("perf-lake", "campaign="+a.Campaign+", rows of campaign_v1 with run_id="+a.Run)
	}
	d.field("spec", a.Spec)
	d.field("spec sha256", a.SpecSum)
	d.field("program", a.Program)
	d.field("host", a.Host)
	d.field("home", a.Home)
	d.field("command line", "`"+strings.Join(a.Args, " ")+"`")
	d.field("began", utc(a.Began))
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		d.field("label "+name, a.Labels[name])
	}
	if r == nil {
		d.field("ended", "not yet: this bundle is not finished")
		return d.String()
	}
	d.field("ended", utc(r.Ended))
	d.field("status", r.Status)
	if r.By != "" {
		d.field("finished by", r.By)
	}
	if len(r.Secrets) > 0 {
		d.field("environment variables used as secrets (their values are nowhere here)", strings.Join(r.Secrets, ", "))
	}
	d.line("")
	d.line("## What was opened")
	d.line("")
	if len(r.Opened) == 0 {
		d.line("Nothing was created.")
		return d.String()
	}
	d.header("name", "node", "kind", "state")
	for _, l := range r.Opened {
		state := "let go"
		if !l.Released {
			state = "LEFT BEHIND: the next run tries again"
		}
		d.row(l.Name, l.Node, l.Kind, state)
	}
	return d.String()
}

// summary says what came of it.
func (b *Bundle) summary(r *Result) string {
	d := &doc{}
	d.line("# Summary")
	d.line("")
	if r == nil {
		d.line("Run %s is not finished.", b.About.Run)
		return d.String()
	}
	d.line("%s: %s, exit code %d. %s", cmp.Or(b.About.Campaign, b.About.Family), r.Status, r.ExitCode, r.Counts)
	d.cells(r.Cells)
	if len(r.Warnings) > 0 {
		d.line("\n## Warnings\n")
		for _, w := range r.Warnings {
			d.line("- %s", oneLine(w))
		}
	}
	if len(r.Nodes) > 0 {
		d.line("\n## Nodes\n")
		d.header("node", "state", "took", "why")
		for _, n := range r.Nodes {
			d.row(n.Name, n.State, n.Took.Round(time.Millisecond).String(), n.Why)
		}
	}
	if len(r.Outputs) > 0 {
		d.line("\n## Artifacts\n")
		d.header("artifact", "sha256", "path")
		for _, o := range r.Outputs {
			d.row(o.Name, o.SHA256.String(), o.Path)
		}
	}
	return d.String()
}

// cells prints numbers, each with the number of its setting, and all settings
// below.
func (d *doc) cells(cells []Cell) {
	if len(cells) == 0 {
		return
	}
	d.line("\n## Numbers\n")
	d.header(append(append([]string{"cell", "status"}, Columns...), "setting")...)
	var settings []string
	for _, c := range cells {
		at := slices.Index(settings, c.Setting)
		if at < 0 {
			at = len(settings)
			settings = append(settings, c.Setting)
		}
		status := c.Status
		if c.Simulated {
			status += " SIMULATED"
		}
		if c.Reason != "" {
			status += ": " + c.Reason
		}
		d.row(append(append([]string{c.ID, status}, c.Numbers...), fmt.Sprintf("S%d", at+1))...)
	}
	d.line("\n## Settings\n")
	d.line("Each number above holds for its setting, and for no other.\n")
	for i, s := range settings {
		d.line("- S%d: %s", i+1, cmp.Or(oneLine(s), "not told"))
	}
}

// handoff says where it stands, for who goes on with it.
func (b *Bundle) handoff(r *Result) string {
	a, d := b.About, &doc{}
	d.line("# Handoff")
	d.line("")
	if r == nil {
		d.line("Run %s is not finished. What you write here is kept.", a.Run)
		return d.String()
	}
	d.line("%s: %s.", cmp.Or(a.Campaign, a.Family), r.Status)
	var open []Node
	for _, n := range r.Nodes {
		if n.State == "failed" || n.State == "partial" || n.State == "skipped" {
			open = append(open, n)
		}
	}
	if len(open) > 0 {
		d.line("\n## Open\n")
		for _, n := range open {
			d.line("- %s: %s: %s", n.Name, n.State, oneLine(n.Why))
		}
	}
	for _, l := range r.Opened {
		if !l.Released {
			d.line("- %s (%s) was left behind: lease %s", l.Node, l.Kind, l.Name)
		}
	}
	d.line("\n## Next lever\n")
	if len(r.Next) == 0 {
		d.line("The run names none. Say here which lever is next, what it should unlock, and what would prove or refute it.")
	}
	for i, n := range r.Next {
		d.line("%d. %s", i+1, oneLine(n))
	}
	if a.Spec != "" {
		d.line("\n## To go on\n")
		d.line("    pipeline run %s        # what is valid is reused", a.Spec)
		d.line("    pipeline plan %s       # what would run, and why", a.Spec)
		d.line("    pipeline runs show %s", a.Run)
		d.line("    pipeline evidence verify %s", b.Dir)
	}
	return d.String()
}
