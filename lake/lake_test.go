package lake

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// rowsOf makes n rows that differ in their numbers by version.
func rowsOf(campaign string, n, version int) []perf.Row {
	var rows []perf.Row
	for i := range n {
		r := perf.NewRow(perf.Atlas())
		r.SetText("campaign", campaign)
		r.SetText("cell_id", fmt.Sprintf("concurrency=%d", i))
		r.SetText("agg", "trial")
		r.SetInt("trial", int64(i))
		r.SetFloat("output_tps", 0.1*float64(i)+float64(version))
		r.SetBool("simulated", true)
		r.SetList("doubts", []string{"it's", `"quoted", with a comma`})
		r.SetJSON("axes", map[string]any{"concurrency": i, "big": int64(1)<<53 + 1})
		r.SetTime("started_at", time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC))
		rows = append(rows, r)
	}
	return rows
}

func sourceOf(rows []perf.Row) digest.Digest {
	return digest.Of(fmt.Append(nil, len(rows), rows[0]))
}

func query(t *testing.T, l Lake, sql string) *Table {
	t.Helper()
	table, err := l.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return table
}

func publish(t *testing.T, l Lake, campaign string, rows []perf.Row) perf.Revision {
	t.Helper()
	rev, err := l.Publish(t.Context(), perf.Atlas(), campaign, rows, sourceOf(rows))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestSameRowsSameBytes(t *testing.T) {
	rows, dir := rowsOf("c", 100, 0), t.TempDir()
	var want []byte
	for seed := range uint64(3) {
		path := filepath.Join(dir, fmt.Sprint(seed))
		sum, err := WriteParquet(t.Context(), path, perf.Atlas(), rows)
		if err != nil {
			t.Fatal(err)
		}
		if d, _ := perf.RowsDigest(perf.Atlas(), rows); d != sum {
			t.Error("the digest returned is not that of the rows")
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if seed > 0 && !bytes.Equal(got, want) {
			t.Error("shuffled rows are other bytes")
		}
		if !bytes.Contains(got, []byte(sum.String())) {
			t.Error("the digest is not in the file's metadata")
		}
		want = got
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 3 {
		t.Errorf("temporary files are left behind: %v", left)
	}
}

func TestValuesSurvive(t *testing.T) {
	l := Lake{t.TempDir()}
	publish(t, l, "c", rowsOf("c", 2, 0))
	got := query(t, l, `SELECT cell_id, trial, output_tps, simulated, doubts, axes->>'big', started_at, ttft_ms_median FROM atlas_v1 ORDER BY trial`)
	want := [][]any{
		{"concurrency=0", int64(0), 0.0, true, []any{"it's", `"quoted", with a comma`}, "9007199254740993", time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC), nil},
		{"concurrency=1", int64(1), 0.1, true, []any{"it's", `"quoted", with a comma`}, "9007199254740993", time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC), nil},
	}
	if !reflect.DeepEqual(got.Rows, want) {
		t.Errorf("got %v\nwant %v", got.Rows, want)
	}
	described := query(t, l, "DESCRIBE atlas_v1")
	for i, c := range perf.Atlas().Columns {
		if described.Rows[i][0] != c.Name || described.Rows[i][1] != string(c.Type) {
			t.Errorf("column %d is %v %v, want %s %s", i, described.Rows[i][0], described.Rows[i][1], c.Name, c.Type)
		}
	}
}

func TestRevisions(t *testing.T) {
	l := Lake{t.TempDir()}
	first := publish(t, l, "c", rowsOf("c", 3, 0))
	info, err := os.Stat(filepath.Join(l.Dir, first.Path))
	if err != nil {
		t.Fatal(err)
	}
	if again := publish(t, l, "c", rowsOf("c", 3, 0)); again != first {
		t.Errorf("the same rows are another revision: %v, %v", again, first)
	}
	if after, _ := os.Stat(filepath.Join(l.Dir, first.Path)); !os.SameFile(info, after) || !after.ModTime().Equal(info.ModTime()) {
		t.Error("publishing the same rows wrote the file again")
	}
	publish(t, l, "other", rowsOf("other", 1, 0))
	second := publish(t, l, "c", rowsOf("c", 2, 7))
	if holds, err := l.Holds(perf.Atlas(), "c", sourceOf(rowsOf("c", 3, 0))); holds || err != nil {
		t.Errorf("a superseded revision is held as current: %v", err)
	}
	if holds, err := l.Holds(perf.Atlas(), "c", sourceOf(rowsOf("c", 2, 7))); !holds || err != nil {
		t.Errorf("the current revision is not held: %v", err)
	}
	got := query(t, l, "SELECT campaign, count(*) FROM atlas_v1 GROUP BY 1 ORDER BY 1").Rows
	if want := [][]any{{"c", int64(2)}, {"other", int64(1)}}; !reflect.DeepEqual(got, want) {
		t.Errorf("current rows are %v, want %v", got, want)
	}
	got = query(t, l, `SELECT revision, "current", count(*) FROM atlas_v1_all WHERE campaign='c' GROUP BY ALL ORDER BY 2`).Rows
	if want := [][]any{{first.Digest.String(), false, int64(3)}, {second.Digest.String(), true, int64(2)}}; !reflect.DeepEqual(got, want) {
		t.Errorf("all revisions are %v, want %v", got, want)
	}
	publish(t, l, "c", rowsOf("c", 3, 0))
	if n := query(t, l, "SELECT count(*) FROM atlas_v1 WHERE campaign='c'").Rows[0][0]; n != int64(3) {
		t.Errorf("publishing an older revision again does not make it current: %v rows", n)
	}
}

func TestPublishRefuses(t *testing.T) {
	l := Lake{filepath.Join(t.TempDir(), "lake")}
	for _, name := range []string{"", "../up", "a/b", ".hidden", "with space", "nul\x00"} {
		if _, err := l.Publish(t.Context(), perf.Atlas(), name, rowsOf("c", 1, 0), digest.Digest{}); err == nil || !strings.Contains(err.Error(), "folder name") {
			t.Errorf("campaign %q: %v", name, err)
		}
	}
	if _, err := l.Publish(t.Context(), perf.Atlas(), "c", nil, digest.Digest{}); err == nil {
		t.Error("publishing no rows is no error")
	}
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Error("a refused publication made the lake")
	}
}

// Files that are not whole are left out, and said.
func TestTornFiles(t *testing.T) {
	l := Lake{t.TempDir()}
	rev := publish(t, l, "c", rowsOf("c", 3, 0))
	path := filepath.Join(l.Dir, rev.Path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for name, content := range map[string][]byte{
		"cut.parquet": text[:len(text)/2], "empty.parquet": nil, "head.parquet": []byte("PAR1PAR1"), ".publish-1.parquet": text[:9], "_notes.parquet": text[:9], "readme.txt": []byte("x"),
		"footer.parquet": append([]byte("PAR1\xff\xff\xff\x7f"), "PAR1"...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := query(t, l, "SELECT count(*) FROM atlas_v1_all")
	if got.Rows[0][0] != int64(3) || len(got.Doubts) != 4 {
		t.Errorf("%v rows, %d doubts: %q; want 3 rows and 4 doubts", got.Rows[0][0], len(got.Doubts), got.Doubts)
	}
	if err := os.WriteFile(path, text[:len(text)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	if holds, _ := l.Holds(perf.Atlas(), "c", sourceOf(rowsOf("c", 3, 0))); holds {
		t.Error("a torn revision is held")
	}
	got = query(t, l, "SELECT count(*) FROM atlas_v1")
	if got.Rows[0][0] != int64(0) || len(got.Doubts) != 5 {
		t.Errorf("%v rows, doubts %q", got.Rows[0][0], got.Doubts)
	}
	publish(t, l, "c", rowsOf("c", 3, 0))
	if n := query(t, l, "SELECT count(*) FROM atlas_v1").Rows[0][0]; n != int64(3) {
		t.Errorf("publishing again does not mend the file: %v rows", n)
	}
}

// What a killed publisher left is swept by the next one, but not under one
// that is at work.
func TestSweep(t *testing.T) {
	l := Lake{t.TempDir()}
	dir := filepath.Join(l.Dir, filepath.Dir(publish(t, l, "c", rowsOf("c", 1, 0)).Path))
	left := filepath.Join(dir, scratchPrefix+"dead", "part")
	litter := func() {
		if err := os.MkdirAll(filepath.Dir(left), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{left, filepath.Join(dir, pointerScratch+"dead")} {
			if err := os.WriteFile(path, []byte("PAR1"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	litter()
	leave, err := enter(dir)
	if err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, ".*")); len(found) > 0 {
		t.Errorf("a publisher leaves %v", found)
	}
	litter()
	publish(t, l, "c", rowsOf("c", 1, 1))
	if _, err := os.Stat(left); err != nil {
		t.Errorf("the scratch of a publisher at work was swept: %v", err)
	}
	leave()
	publish(t, l, "c", rowsOf("c", 1, 1))
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Error("the scratch of a dead publisher stays")
	}
}

// A lost pointer is no guess: one file is current, of several none is.
func TestLostPointer(t *testing.T) {
	l := Lake{t.TempDir()}
	rev := publish(t, l, "c", rowsOf("c", 1, 0))
	pointer := filepath.Join(l.Dir, filepath.Dir(rev.Path), pointerName)
	lose := func(text string) {
		os.Remove(pointer)
		if text != "" {
			if err := os.WriteFile(pointer, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	lose("")
	if got := query(t, l, "SELECT count(*) FROM atlas_v1"); got.Rows[0][0] != int64(1) || len(got.Doubts) != 0 {
		t.Errorf("one file without a pointer: %v rows, %q", got.Rows, got.Doubts)
	}
	publish(t, l, "c", rowsOf("c", 2, 1))
	for _, text := range []string{"", "{", `{"file":"../../x.parquet"}`, `{"file":"gone.parquet"}`} {
		lose(text)
		if got := query(t, l, "SELECT count(*) FROM atlas_v1"); got.Rows[0][0] != int64(0) || len(got.Doubts) != 1 || !strings.Contains(got.Doubts[0], "publish the campaign again") {
			t.Errorf("pointer %q: %v rows, %q", text, got.Rows, got.Doubts)
		}
	}
}

func TestEmptyLake(t *testing.T) {
	l := Lake{filepath.Join(t.TempDir(), "none")}
	for _, table := range []string{"atlas_v1", "atlas_v1_all", "campaign_v1", "campaign_v1_all"} {
		if n := query(t, l, "SELECT count(*) FROM "+table).Rows[0][0]; n != int64(0) {
			t.Errorf("%s has %v rows", table, n)
		}
	}
	if got := query(t, l, "SELECT campaign FROM atlas_v1"); got.Rows == nil || got.Columns[0].Name != "campaign" {
		t.Errorf("an empty result is %+v", got)
	}
}

func TestQueryReadsOnly(t *testing.T) {
	l, out := Lake{t.TempDir()}, filepath.Join(t.TempDir(), "out")
	publish(t, l, "c", rowsOf("c", 1, 0))
	for sql, want := range map[string]string{
		"COPY atlas_v1 TO '" + out + "'":                 "only statements that read",
		"EXPLAIN ANALYZE COPY atlas_v1 TO '" + out + "'": "only statements that read",
		"SELECT 1; COPY atlas_v1 TO '" + out + "'":       "only statements that read",
		"SELECT 1; SELECT 2":                             "one statement at a time, not 2",
		"CREATE TABLE x (a INT)":                         "only statements that read",
		"DROP VIEW atlas_v1":                             "only statements that read",
		"ATTACH '" + out + "'":                           "only statements that read",
		"SET threads=1":                                  "only statements that read",
		"INSTALL httpfs":                                 "only statements that read",
		"":                                               "the statement is empty",
		"SELEC 1":                                        "syntax error",
		"SELECT * FROM atlas":                            "DESCRIBE atlas_v1 lists its columns",
		"SELECT no_such_column FROM atlas_v1":            "no_such_column",
		"SELECT 'x'::INT":                                "Could not convert",
	} {
		if _, err := l.Query(t.Context(), sql); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q in it", sql, err, want)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("a query wrote a file")
	}
	for _, sql := range []string{
		"WITH a AS (SELECT 1) SELECT * FROM a", "FROM atlas_v1", "VALUES (1)", "DESCRIBE atlas_v1", "SUMMARIZE atlas_v1", "SHOW TABLES", "EXPLAIN SELECT 1", "explain analyze SELECT 1;",
		"SELECT sum(trial), avg(trial), 1.5::DECIMAL(4,2), INTERVAL 1 DAY, {'a': [1]}, uuid(), 7::HUGEINT FROM atlas_v1",
	} {
		query(t, l, sql)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Query(ctx, "SELECT 1"); err == nil {
		t.Error("a cancelled query is no error")
	}
}

// An older file lacks columns that the schema has now; another tool's file has
// columns that it has not.
func TestOlderFiles(t *testing.T) {
	l := Lake{t.TempDir()}
	dir := filepath.Join(l.Dir, "atlas_v1", "campaign=old")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := openSession(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.exec(t.Context(), "COPY (SELECT 'old' AS campaign, 5.0 AS output_tps, 'x' AS novel) TO "+literal(filepath.Join(dir, "a.parquet"))+" (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	publish(t, l, "new", rowsOf("new", 1, 0))
	got := query(t, l, "SELECT campaign, output_tps, simulated FROM atlas_v1 ORDER BY campaign").Rows
	if want := [][]any{{"new", 0.0, true}, {"old", 5.0, nil}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

const publisherEnv = "LAKE_TEST_PUBLISHER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(publisherEnv); dir != "" {
		for version := range 5 {
			for _, campaign := range []string{"shared", "own" + os.Getenv("LAKE_TEST_NAME")} {
				if _, err := (Lake{dir}).Publish(context.Background(), perf.Atlas(), campaign, rowsOf(campaign, 20, version), digest.Digest{}); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Two processes publish the same and other campaigns while a third queries:
// no query sees part of a file or part of a revision, and nothing is lost.
func TestPublishersAndReader(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := Lake{t.TempDir()}
	var wg sync.WaitGroup
	for name := range 2 {
		wg.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), publisherEnv+"="+l.Dir, fmt.Sprintf("LAKE_TEST_NAME=%d", name))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("publisher %d: %v: %s", name, err, out)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	reads, seen := 0, map[any]bool{}
	for finished := false; !finished || reads < 2; reads++ {
		select {
		case <-done:
			finished = true
		default:
		}
		got := query(t, l, "SELECT campaign, count(*) FROM atlas_v1 GROUP BY 1")
		now := map[any]bool{}
		for _, row := range got.Rows {
			now[row[0]] = true
			if row[1] != int64(20) {
				t.Fatalf("campaign %v has %v current rows, want 20", row[0], row[1])
			}
		}
		for campaign := range seen {
			if !now[campaign] {
				t.Fatalf("campaign %v had a current revision and has none now: %q", campaign, got.Doubts)
			}
		}
		if seen = now; len(got.Doubts) > 0 && !onlyPointerDoubts(got.Doubts) {
			t.Fatalf("a query saw something torn: %q", got.Doubts)
		}
	}
	got := query(t, l, `SELECT campaign, count(DISTINCT revision), count(*) FILTER (WHERE "current") FROM atlas_v1_all GROUP BY 1 ORDER BY 1`).Rows
	want := [][]any{{"own0", int64(5), int64(20)}, {"own1", int64(5), int64(20)}, {"shared", int64(5), int64(20)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after all: %v, want %v", got, want)
	}
	left, _ := filepath.Glob(filepath.Join(l.Dir, "atlas_v1", "*", ".*"))
	if len(left) > 0 {
		t.Errorf("scratch is left behind: %v", left)
	}
	t.Logf("%d reads", reads)
}

// Between the first two files of a campaign and its first pointer, a reader
// may find no current one. It says so, and shows none.
func onlyPointerDoubts(doubts []string) bool {
	return !slices.ContainsFunc(doubts, func(d string) bool { return !strings.Contains(d, pointerName) })
}

// Rows reads back what was published, and an older revision by its digest. A
// folder above the lake that is named like a column is none.
func TestRows(t *testing.T) {
	l := Lake{filepath.Join(t.TempDir(), "model=x")}
	rows := rowsOf("c", 20, 0)
	rows = append(rows, perf.RowOfGap(perf.Origin{Cell: []perf.Coord{{Axis: "concurrency", Value: "4"}}, Gap: "failed"}))
	first := publish(t, l, "c", rows)
	second := publish(t, l, "c", rowsOf("c", 5, 1))
	for _, want := range []perf.Revision{first, second} {
		got, rev, err := l.Rows(t.Context(), perf.Atlas(), "c", want.Digest.Short())
		if err != nil || rev != want {
			t.Fatalf("read %+v, %v; want %+v", rev, err, want)
		}
		if sum, err := perf.RowsDigest(perf.Atlas(), got); sum != want.Digest {
			t.Errorf("the rows that are read say otherwise (%v)", err)
		}
	}
	if _, rev, err := l.Rows(t.Context(), perf.Atlas(), "c", ""); rev != second {
		t.Errorf("the current revision is %+v: %v", rev, err)
	}
	for _, c := range []struct{ campaign, revision, want string }{
		{"d", "", "has no campaign d; it has c"}, {"c", "ff00ff", "no whole revision ff00ff"}, {"../c", "", "cannot be a folder name"},
	} {
		if _, _, err := l.Rows(t.Context(), perf.Atlas(), c.campaign, c.revision); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s@%s: %v, want %q", c.campaign, c.revision, err, c.want)
		}
	}
	if _, _, err := (Lake{t.TempDir()}).Rows(t.Context(), perf.Atlas(), "c", ""); err == nil || !strings.Contains(err.Error(), "nor any other") {
		t.Errorf("an empty lake: %v", err)
	}
}
