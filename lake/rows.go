package lake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// Rows returns the rows of a campaign in a table, as they were published: of
// its current revision, or of the one whose digest begins with revision.
func (l Lake) Rows(ctx context.Context, schema *perf.Schema, campaign, revision string) ([]perf.Row, perf.Revision, error) {
	file, err := l.revisionFile(schema, campaign, revision)
	if err != nil {
		return nil, perf.Revision{}, err
	}
	s, err := openSession(ctx, 1)
	if err != nil {
		return nil, perf.Revision{}, err
	}
	defer s.close()
	if err := createViews(ctx, s, schema, []dataFile{{path: file, current: true}}); err != nil {
		return nil, perf.Revision{}, fmt.Errorf("read %s: %w", file, err)
	}
	columns := make([]string, len(schema.Columns))
	for i, c := range schema.Columns {
		columns[i] = ident(c.Name)
		if c.Type == perf.JSON { // as text: numbers keep their digits
			columns[i] = ident(c.Name) + "::VARCHAR"
		}
	}
	t, err := s.table(ctx, fmt.Sprintf("SELECT %s FROM %s", strings.Join(columns, ", "), ident(schema.Name)))
	if err != nil {
		return nil, perf.Revision{}, fmt.Errorf("read %s: %w", file, err)
	}
	rows := make([]perf.Row, len(t.Rows))
	for i, values := range t.Rows {
		if rows[i], err = rowOf(schema, values); err != nil {
			return nil, perf.Revision{}, fmt.Errorf("read %s: row %d: %w", file, i+1, err)
		}
	}
	perf.SortRows(rows)
	name := strings.TrimSuffix(filepath.Base(file), ".parquet")
	sum, err := digest.Parse(name)
	if err != nil {
		return nil, perf.Revision{}, fmt.Errorf("read %s: its name is no digest: %w", file, err)
	}
	return rows, perf.Revision{Table: schema.Name, Path: schema.Name + "/campaign=" + campaign + "/" + filepath.Base(file), Digest: sum, Rows: len(rows)}, nil
}

// revisionFile finds the file of a revision.
func (l Lake) revisionFile(schema *perf.Schema, campaign, revision string) (string, error) {
	if !campaignRE.MatchString(campaign) {
		return "", badCampaign(campaign)
	}
	files, doubts, err := campaignFiles(filepath.Join(l.Dir, schema.Name, "campaign="+campaign))
	if errors.Is(err, fs.ErrNotExist) {
		return "", l.noCampaign(schema, campaign)
	}
	if err != nil {
		return "", fmt.Errorf("list the lake: %w", err)
	}
	var found []string
	for _, f := range files {
		if revision == "" && f.current || revision != "" && strings.HasPrefix(filepath.Base(f.path), revision) {
			found = append(found, f.path)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%d revisions of campaign %s begin with %s: give more of the digest", len(found), campaign, revision)
	case revision != "":
		return "", fmt.Errorf("campaign %s has no whole revision %s in %s", campaign, revision, schema.Name)
	}
	return "", fmt.Errorf("campaign %s has no current revision in %s: %s", campaign, schema.Name, strings.Join(append(doubts, "publish it again"), "; "))
}

// noCampaign names the campaigns that are there.
func (l Lake) noCampaign(schema *perf.Schema, campaign string) error {
	var names []string
	dirs, _ := os.ReadDir(filepath.Join(l.Dir, schema.Name)) // an empty lake has no folder
	for _, d := range dirs {
		if name, ok := strings.CutPrefix(d.Name(), "campaign="); ok && d.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return fmt.Errorf("the lake in %s has no campaign %s, nor any other", l.Dir, campaign)
	}
	return fmt.Errorf("the lake in %s has no campaign %s; it has %s", l.Dir, campaign, strings.Join(names, ", "))
}

// rowOf makes a row of the values of all columns of the schema, in its order.
func rowOf(schema *perf.Schema, values []any) (perf.Row, error) {
	r := perf.NewRow(schema)
	for i, c := range schema.Columns {
		if values[i] == nil {
			continue
		}
		ok := true
		switch v := values[i].(type) {
		case string:
			ok = c.Type == perf.Varchar || c.Type == perf.JSON
			if ok {
				if err := r.ParseText(c.Name, v); err != nil {
					return r, fmt.Errorf("column %s: %w", c.Name, err)
				}
			}
		case int64:
			if ok = c.Type == perf.Bigint; ok {
				r.SetInt(c.Name, v)
			}
		case float64:
			if ok = c.Type == perf.Double; ok {
				r.SetFloat(c.Name, v)
			}
		case bool:
			if ok = c.Type == perf.Boolean; ok {
				r.SetBool(c.Name, v)
			}
		case time.Time:
			if ok = c.Type == perf.Timestamp; ok {
				r.SetTime(c.Name, v)
			}
		case []any:
			if ok = c.Type == perf.List; ok {
				list := make([]string, len(v))
				for j, e := range v {
					list[j] = fmt.Sprint(e)
				}
				r.SetList(c.Name, list)
			}
		default:
			ok = false
		}
		if !ok {
			return r, fmt.Errorf("column %s is %s, not %T", c.Name, c.Type, values[i])
		}
	}
	return r, nil
}
