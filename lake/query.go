package lake

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"pipeline/lake/perf"
)

// A Table is what a query gave.
type Table struct {
	Columns []TableColumn `json:"columns"`
	// Rows hold nil, bool, int64, float64, string, time.Time (UTC), []any, or,
	// of a struct, map or JSON column, map[string]any.
	Rows   [][]any  `json:"rows"`
	Doubts []string `json:"doubts,omitempty"` // files that were left out, and why
}

// A TableColumn is a column of a Table; Type is DuckDB's name of its type.
type TableColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Query runs one SELECT (or WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW,
// EXPLAIN) over the views atlas_v1, campaign_v1, atlas_v1_all and
// campaign_v1_all. An empty lake has them, without rows. A statement that
// would change something is refused.
func (l Lake) Query(ctx context.Context, query string) (*Table, error) {
	s, err := openSession(ctx, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := onlyReads(ctx, s, query); err != nil {
		return nil, err
	}
	// DuckDB compares paths as texts with the one that statements are confined to.
	if l.Dir, err = filepath.Abs(l.Dir); err != nil {
		return nil, fmt.Errorf("query the lake: %w", err)
	}
	var doubts []string
	for _, schema := range perf.Schemas() {
		files, warns, err := l.files(schema.Name)
		if err != nil {
			return nil, err
		}
		doubts = append(doubts, warns...)
		if err := createViews(ctx, s, schema, files); err != nil {
			return nil, fmt.Errorf("query the lake: read %s: %w", schema.Name, err)
		}
	}
	if err := s.confine(ctx, l.Dir); err != nil {
		return nil, fmt.Errorf("query the lake: %w", err)
	}
	t, err := s.table(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("query the lake: %w\nThe tables are atlas_v1 and campaign_v1 (current revisions), atlas_v1_all and campaign_v1_all; DESCRIBE atlas_v1 lists its columns", err)
	}
	t.Doubts = doubts
	return t, nil
}

var explainRE = regexp.MustCompile(`(?is)^\s*explain(\s+analyze)?\s+`)

// onlyReads refuses what is not one statement that reads. DuckDB's own parser
// decides: it serializes SELECT statements, and nothing else, without running
// them.
func onlyReads(ctx context.Context, s *session, query string) error {
	var verdict struct {
		Error      bool              `json:"error"`
		Type       string            `json:"error_type"`
		Message    string            `json:"error_message"`
		Statements []json.RawMessage `json:"statements"`
	}
	var text string
	plain := explainRE.ReplaceAllString(query, "")
	if err := s.conn.QueryRowContext(ctx, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", plain).Scan(&text); err != nil {
		return fmt.Errorf("query the lake: parse the statement: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &verdict); err != nil {
		return fmt.Errorf("query the lake: parse the statement: %w", err)
	}
	switch {
	case verdict.Error && verdict.Type == "not implemented":
		return fmt.Errorf("query the lake: only statements that read are allowed (SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN); to change the lake, publish a campaign")
	case verdict.Error:
		return fmt.Errorf("query the lake: %s", verdict.Message)
	case len(verdict.Statements) == 0:
		return fmt.Errorf("query the lake: the statement is empty; try SELECT campaign, cell_id, output_tps FROM atlas_v1")
	case len(verdict.Statements) > 1:
		return fmt.Errorf("query the lake: one statement at a time, not %d", len(verdict.Statements))
	}
	return nil
}

// createViews makes <table>_all over all files and <table> over the current
// ones. An empty SELECT with the columns of the schema stands first, so that
// columns that older files lack are NULL and an empty lake has a table.
func createViews(ctx context.Context, s *session, schema *perf.Schema, files []dataFile) error {
	empty := make([]string, len(schema.Columns))
	names := make([]string, len(schema.Columns))
	for i, c := range schema.Columns {
		empty[i] = fmt.Sprintf("NULL::%s AS %s", c.Type, ident(c.Name))
		names[i] = ident(c.Name)
	}
	all := fmt.Sprintf(`SELECT %s, NULL::VARCHAR AS revision, NULL::BOOLEAN AS "current" WHERE false`, strings.Join(empty, ", "))
	var current, superseded []string
	for _, f := range files {
		if f.current {
			current = append(current, literal(f.path))
		} else {
			superseded = append(superseded, literal(f.path))
		}
	}
	for _, part := range []struct {
		paths   []string
		current bool
	}{{current, true}, {superseded, false}} {
		if len(part.paths) > 0 {
			all += fmt.Sprintf(` UNION ALL BY NAME SELECT * EXCLUDE (filename), parse_filename(filename, true) AS revision, %t AS "current"
				FROM read_parquet([%s], union_by_name=true, hive_partitioning=false, filename=true)`, part.current, strings.Join(part.paths, ", "))
		}
	}
	if err := s.exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", ident(schema.Name+"_all"), all)); err != nil {
		return err
	}
	return s.exec(ctx, fmt.Sprintf(`CREATE VIEW %s AS SELECT %s FROM %s WHERE "current"`, ident(schema.Name), strings.Join(names, ", "), ident(schema.Name+"_all")))
}
