package perf

import (
	"cmp"
	"slices"
	"sync"

	"pipeline/internal/stat"
)

// A Cell is a point of a campaign's matrix in one setting, with its trials.
type Cell struct {
	Campaign string // "" if the rows were not published
	ID       string // its coordinates, apart from the trial
	Config   string
	Trials   []Row // FULL, of one setting, and not excluded
	Others   []Row // the rest: not FULL, of another setting, or excluded as outliers
	Mean     *Row  // over Trials, nil if the rows have none

	setting func() (Setting, error) // of Trials, read once
}

// Cells puts the rows of an atlas together by cell, in the order of their
// names. A cell whose trials ran in unlike settings is a Cell for each. One
// without a FULL trial has none.
func Cells(rows []Row) []Cell {
	type place struct{ campaign, id string }
	trials, means := map[place][]Row{}, map[place][]Row{}
	var places []place
	for _, r := range rows {
		p := place{r.Text("campaign"), cellWithoutTrial(r)}
		if len(trials[p])+len(means[p]) == 0 {
			places = append(places, p)
		}
		if r.Text("agg") == "mean" {
			means[p] = append(means[p], r)
		} else {
			trials[p] = append(trials[p], r)
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.campaign, b.campaign), cmp.Compare(a.id, b.id)) })
	var cells []Cell
	for _, p := range places {
		for _, c := range cellsOf(trials[p], means[p]) {
			c.Campaign, c.ID = p.campaign, p.id
			cells = append(cells, c)
		}
	}
	return cells
}

// cellsOf makes the cells of one point.
func cellsOf(trials, means []Row) []Cell {
	SortRows(trials)
	groups := map[string][]Row{}
	var order []string
	for _, r := range trials {
		if inMean(r) {
			if groups[r.group()] == nil {
				order = append(order, r.group())
			}
			groups[r.group()] = append(groups[r.group()], r)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(len(groups[b]), len(groups[a])) })
	if len(order) == 0 && len(trials) > 0 {
		return []Cell{{Config: trials[0].Text("config"), Others: trials}}
	}
	var cells []Cell
	for _, g := range order {
		c := Cell{Config: groups[g][0].Text("config"), Trials: groups[g]}
		c.setting = sync.OnceValues(func() (Setting, error) { return settingOfTrials(groups[g]) })
		for _, r := range trials {
			if !inMean(r) || r.group() != g {
				c.Others = append(c.Others, r)
			}
		}
		if i := slices.IndexFunc(means, func(m Row) bool { return m.group() == g }); i >= 0 {
			c.Mean = &means[i]
		}
		cells = append(cells, c)
	}
	return cells
}

// inMean reports whether a trial is a part of a mean.
func inMean(r Row) bool {
	excluded, _ := r.Bool("excluded")
	return r.Text("status") == string(Full) && !excluded
}

// group names the setting of a row and what measured it.
func (r Row) group() string {
	return r.Text("setting_sha256") + r.Text("bench_backend") + " " + r.Text("bench_version")
}

// Row returns the row that stands for the cell: its mean, else its first trial.
func (c *Cell) Row() Row {
	switch {
	case c.Mean != nil:
		return *c.Mean
	case len(c.Trials) > 0:
		return c.Trials[0]
	}
	return c.Others[0]
}

// Sample returns the trials of a metric; false if not all of them have it.
func (c *Cell) Sample(m Metric) (Sample, bool) {
	if len(c.Trials) == 0 {
		return Sample{}, false
	}
	setting, err := c.setting()
	if err != nil {
		return Sample{}, false
	}
	s, err := sampleOf(m, setting, c.Trials)
	return s, err == nil
}

// mean returns the mean over the trials of a column; false if one lacks it.
func (c *Cell) mean(column string) (float64, bool) {
	v, have := valuesOf(column, c.Trials)
	if have == 0 || have < len(c.Trials) {
		return 0, false
	}
	return stat.Mean(v), true
}

// concurrency is 0 for an open loop.
func (c *Cell) concurrency() int64 {
	n, _ := c.Row().Int("concurrency")
	return n
}

// Swept reports whether the cell is of a roofline sweep.
func (c *Cell) Swept() bool { return c.Row().Extra()["roofline"] != nil }

// trialName names a trial of a cell for people.
func trialName(r Row) string {
	if n, ok := r.Int("trial"); ok {
		return "trial " + itoa(n)
	}
	return "the trial"
}
