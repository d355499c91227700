package importbench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pipeline/internal/foreign"
	"pipeline/lake/perf"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestDocs keeps docs/imports.md what the readers work by.
func TestDocs(t *testing.T) {
	const file = "../../docs/imports.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for mark, part := range map[string]string{"formats": formatTables(), "template": "```csv\n" + foreign.CSVTemplate() + "```\n", "columns": columnList()} {
		re := regexp.MustCompile(`(?s)(<!-- ` + mark + ` -->\n).*?(<!-- end -->)`)
		if !re.MatchString(want) {
			t.Fatalf("%s has no part %q", file, mark)
		}
		want = re.ReplaceAllStringFunc(want, func(string) string { return "<!-- " + mark + " -->\n\n" + part + "\n<!-- end -->" })
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the readers say: go test ./steps/importbench -run TestDocs -update", file)
	}
}

func formatTables() string {
	var b strings.Builder
	formats := append([]foreign.Format{{Name: aiperfFormat, Doc: "a folder with `profile_export_aiperf.json`, `profile_export.jsonl` and what else AIPerf writes", Table: foreign.AIPerfTable}}, foreign.Formats()...)
	for _, f := range formats {
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n", f.Name, strings.ToUpper(f.Doc[:1])+f.Doc[1:])
		if f.Table == nil {
			b.WriteString("Its columns are ours.\n\n")
			continue
		}
		b.WriteString("| ours | theirs | unit | times | what is different |\n|---|---|---|---|---|\n")
		for _, q := range f.Table {
			note := q.Note
			if q.Doubt {
				note = "Doubt: " + note
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", q.Column, q.Field, q.Unit, strconv.FormatFloat(q.Factor, 'g', 5, 64), note)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func columnList() string { return "`" + strings.Join(foreign.CSVColumns(), "`, `") + "`\n" }

// What the table of AIPerf says is what its reader does: a summary in which
// each metric has a value of its own.
func TestAIPerfTable(t *testing.T) {
	var metrics []string
	for i, q := range foreign.AIPerfTable {
		metrics = append(metrics, fmt.Sprintf(`"%s":{"unit":%q,"avg":%d,"p50":%d,"std":1}`, q.Field, q.Unit, 100+i, 100+i))
	}
	dir := t.TempDir()
	put(t, dir, "profile_export_aiperf.json", `{"schema_version":"1.0","aiperf_version":"0.9","request_count":{"unit":"requests","avg":10},"benchmark_duration":{"unit":"sec","avg":10},`+strings.Join(metrics, ",")+`}`)
	m := run(t, dir, nil).one(t)
	row := perf.RowOf(perf.Origin{Source: measurementFile}, m)
	for i, q := range foreign.AIPerfTable {
		column := q.Column
		switch {
		case strings.HasSuffix(column, "_ms"):
			column += "_median"
		case strings.HasSuffix(column, "_tokens"):
			column = "mean_" + column
		}
		if v, ok := row.Float(column); !ok || v != float64(100+i)*q.Factor {
			t.Errorf("%s: column %s is %v, want %v: %v", q.Field, column, v, float64(100+i)*q.Factor, m.Reasons)
		}
	}
}

// The table that people start from is the one that the docs show.
func TestTemplate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.csv")
	row := strings.Repeat(",", strings.Count(foreign.CSVTemplate(), ","))
	if err := os.WriteFile(path, []byte(foreign.CSVTemplate()+row+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	got := run(t, path, nil)
	if m := got.one(t); m.Status != perf.Partial || !strings.HasPrefix(m.Reasons[0], "incomplete: the report does not tell how many requests were answered") {
		t.Errorf("an empty row is %s %q", m.Status, m.Reasons)
	}
}
