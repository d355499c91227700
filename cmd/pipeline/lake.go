package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/lake"
)

func (a *app) lakeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "lake", Short: "Ask the lake"}
	var csvOut bool
	query := &cobra.Command{
		Use:   "query SQL",
		Short: "Run one SELECT over atlas_v1 and campaign_v1",
		Long: `Runs one statement that reads, in DuckDB's SQL, over the views atlas_v1 (a row a cell) and campaign_v1 (a row a
campaign). They hold current revisions; atlas_v1_all and campaign_v1_all hold all. "-" reads the statement from
standard input.`,
		Example: `  pipeline lake query "SELECT cell_id, output_tps, ttft_ms_median FROM atlas_v1 WHERE agg = 'mean'"
  pipeline lake query 'DESCRIBE atlas_v1'
  pipeline lake query --csv - < top.sql`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			sql := given[0]
			if sql == "-" {
				b, err := io.ReadAll(a.stdin)
				if err != nil {
					return failed(fmt.Errorf("read the statement: %w", err))
				}
				sql = string(b)
			}
			a.noteNoHome()
			t, err := a.lake().Query(cmd.Context(), sql)
			if err != nil {
				return usage(err)
			}
			for _, d := range t.Doubts {
				fmt.Fprintln(a.stderr, "pipeline: warning:", d)
			}
			switch {
			case a.isJSON():
				return a.json(t)
			case csvOut:
				return printCSV(a.stdout, t)
			}
			printRows(a.stdout, t)
			return nil
		},
	}
	query.Flags().BoolVar(&csvOut, "csv", false, "print CSV")
	cmd.AddCommand(query)
	return cmd
}

func printRows(w io.Writer, t *lake.Table) {
	rows := make([][]string, 0, len(t.Rows)+1)
	head := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		head[i] = c.Name
	}
	rows = append(rows, head)
	for _, r := range t.Rows {
		cells := make([]string, len(r))
		for i, v := range r {
			cells[i] = strings.ReplaceAll(valueText(v, "-"), "\n", " ")
		}
		rows = append(rows, cells)
	}
	table(w, rows)
	fmt.Fprintf(w, "(%d rows)\n", len(t.Rows))
}

func printCSV(w io.Writer, t *lake.Table) error {
	out := csv.NewWriter(w)
	row := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		row[i] = c.Name
	}
	if err := out.Write(row); err != nil {
		return failed(err)
	}
	for _, r := range t.Rows {
		for i, v := range r {
			row[i] = valueText(v, "")
		}
		if err := out.Write(row); err != nil {
			return failed(err)
		}
	}
	out.Flush()
	return failed(out.Error())
}

// valueText prints a value of a query; null stands for NULL, so that it never
// looks like a zero or an empty text.
func valueText(v any, null string) string {
	switch x := v.(type) {
	case nil:
		return null
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case time.Time:
		return x.Format(time.RFC3339)
	case []any, map[string]any:
		if b, err := json.Marshal(x); err == nil {
			return string(b)
		}
	}
	return fmt.Sprint(v)
}
