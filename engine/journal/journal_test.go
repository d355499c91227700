package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var entries = []Entry{
	{Event: RunStart, Start: &Start{Run: "r1", Campaign: "c", Args: []string{"run", "x.yaml"}, Nodes: 2}},
	{Event: Lease, Node: "serve", Kind: "serve", Lease: "L1", Params: json.RawMessage(`{"a":"b"}`)},
	{Event: Attempt, Node: "cells[n=1]", Number: 1, Key: "abc"},
	{Event: Attempt, Node: "cells[n=2]", Number: 1, Key: "abd"},
	{Event: Tried, Node: "cells[n=1]", Number: 1, State: "failed", Text: "said \"no\"\n\u2028é", Took: 5},
	{Event: State, Node: "cells[n=1]", State: "failed", Reason: "R17", Record: "1"},
}

func write(t *testing.T, dir string) {
	t.Helper()
	w, err := Create(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		e.Time = time.Unix(int64(i), 5).UTC()
		w.Add(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	write(t, dir)
	got, torn, err := Read(dir)
	if err != nil || torn || len(got) != len(entries) {
		t.Fatal(len(got), torn, err)
	}
	for i, e := range got {
		want := entries[i]
		want.Time = time.Unix(int64(i), 5).UTC()
		if !reflect.DeepEqual(e, want) {
			t.Errorf("line %d\n got %+v\nwant %+v", i, e, want)
		}
	}
	if open := OpenLeases(got); len(open) != 1 || open[0].Lease != "L1" {
		t.Errorf("open leases %v", open)
	}
	if open := OpenAttempts(got); len(open) != 1 || open[0].Node != "cells[n=2]" {
		t.Errorf("open attempts %v", open)
	}
}

// Cut at any byte, a journal reads as its whole lines, and can be continued.
func TestTornAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	write(t, dir)
	path := filepath.Join(dir, "journal.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o666); err != nil {
			t.Fatal(err)
		}
		got, torn, err := Read(dir)
		lines := strings.Count(string(whole[:cut]), "\n")
		atEnd := cut == 0 || whole[cut-1] == '\n'
		if err != nil || len(got) != lines || torn == atEnd {
			t.Fatalf("cut at %d: %d lines, want %d, torn %v, %v", cut, len(got), lines, torn, err)
		}
	}
	w, err := Continue(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(Entry{Event: Released, Lease: "L1"})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, torn, err := Read(dir)
	if err != nil || torn || got[len(got)-1].Event != Released || len(OpenLeases(got)) > 0 {
		t.Errorf("continued: %v %v %v", got, torn, err)
	}
}

func TestFlippedByteEndsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	write(t, dir)
	path := filepath.Join(dir, "journal.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := strings.Index(string(b), "\n") + 20
	b[second] ^= 1
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, torn, err := Read(dir); err != nil || !torn || len(got) != 1 {
		t.Errorf("%d lines, torn %v, %v", len(got), torn, err)
	}
}

func TestPhases(t *testing.T) {
	at := func(seconds int, event, node, text string) Entry {
		return Entry{Time: time.Unix(int64(seconds), 0), Event: event, Node: node, Text: text}
	}
	got := Phases([]Entry{
		at(0, Phase, "pod", "2/10 pod"), at(3, Opened, "pod", ""),
		at(3, Phase, "cells[n=1]", "4/10 pre"), at(4, Phase, "cells[n=1]", "5/10 run"), at(9, Tried, "cells[n=1]", ""),
		at(9, Phase, "cells[n=2]", "4/10 pre"), at(10, Tried, "cells[n=2]", ""), at(10, Phase, "cells[n=2]", "4/10 pre"), at(11, Phase, "cells[n=2]", "5/10 run"),
		at(12, Phase, "report", "10/10 report"), at(14, Released, "pod", ""), at(20, Tried, "report", ""),
	})
	want := []PhaseTime{{"2/10 pod", 1, 3 * time.Second}, {"4/10 pre", 2, 3 * time.Second}, {"5/10 run", 2, 14 * time.Second}, {"10/10 report", 1, 8 * time.Second}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := Phases(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestList(t *testing.T) {
	runs := t.TempDir()
	for _, id := range []string{"20260102-000000.000-a", "20260101-000000.000-b"} {
		w, err := Create(filepath.Join(runs, id), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Add(Entry{Time: time.Unix(1, 0), Event: RunStart, Start: &Start{Run: id, Campaign: "c"}})
		if strings.HasSuffix(id, "a") {
			w.Add(Entry{Time: time.Unix(2, 0), Event: RunEnd, End: &End{Status: "complete", Counts: Counts{Total: 3}}})
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(runs, "20260103-empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	got, err := List(runs)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if got[0].End == nil || got[0].End.Counts.Total != 3 || got[1].End != nil || got[1].Run != "20260101-000000.000-b" {
		t.Errorf("got %+v", got)
	}
}

func TestRunIDsSortByTime(t *testing.T) {
	now := time.Now()
	var ids []string
	for i := range 20 {
		ids = append(ids, NewRunID(now.Add(time.Duration(i)*time.Second)))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("not sorted: %v", ids)
	}
	if NewRunID(now) == NewRunID(now) {
		t.Error("two runs have one name")
	}
}

func TestLogPaths(t *testing.T) {
	seen := map[string]string{}
	for _, node := range []string{"cells[n=1]", "cells[n=a/b]", "cells[n=a_b]", "../x", strings.Repeat("x", 300), strings.Repeat("x", 301)} {
		p := LogPath(node)
		if seen[p] != "" || len(p) > 200 || filepath.Dir(p) != "logs" {
			t.Errorf("%s: %s, as %s", node, p, seen[p])
		}
		seen[p] = node
	}
}
