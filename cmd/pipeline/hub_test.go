package main

import (
	"maps"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pipeline/internal/hf/hubtest"
)

// hubs gives scripts a hub with one gated data set, owner/replay-playback, that
// the token hf_granted may read and hf_other may not.
//
//	hub start NAME   starts it and sets $NAME to its URL
//	hub card NAME    a commit that changes its card
//	hub rows NAME    a commit that changes its rows
//	hub quiet NAME   nobody has asked it anything since the last hub command
func hubs(t *testing.T) func(*testscript.TestScript, bool, []string) {
	type running struct {
		*hubtest.Hub
		repo *hubtest.Repo
	}
	all := map[string]*running{}
	fixture := func(name string) []byte {
		b, err := os.ReadFile("../../internal/transcript/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const shard = "data/2025_07-00000-of-00001.parquet"
	files, other := hubtest.Files{shard: fixture("messages-zstd-v2.parquet")}, fixture("sequence.parquet")
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: hub start|card|rows|quiet NAME")
		}
		verb, name := args[0], args[1]
		if verb == "start" {
			h := &running{repo: &hubtest.Repo{ID: "owner/replay-playback", Gated: true, Card: map[string]any{"license": "odc-by"},
				Revisions: map[string]string{"main": hubtest.Commit("a")}, Commits: map[string]hubtest.Files{hubtest.Commit("a"): files}}}
			h.Hub = hubtest.Start(t, map[string][]string{"hf_granted": {h.repo.ID}, "hf_other": nil}, h.repo)
			all[ts.Getenv("WORK")+name] = h
			ts.Setenv(name, h.URL)
			return
		}
		h := all[ts.Getenv("WORK")+name]
		if h == nil {
			ts.Fatalf("there is no hub %s", name)
		}
		asked := h.Requests()
		commit := func(letter, path string, content []byte) {
			h.Edit(func(map[string]*hubtest.Repo) {
				next := maps.Clone(files)
				next[path] = content
				h.repo.Commits[hubtest.Commit(letter)], h.repo.Revisions["main"] = next, hubtest.Commit(letter)
			})
		}
		switch verb {
		case "card":
			commit("b", "README.md", []byte("more about it"))
		case "rows":
			commit("c", shard, other)
		case "quiet":
			if len(asked) > 0 {
				ts.Fatalf("it was asked: %v", asked)
			}
		default:
			ts.Fatalf("hub %s: there is no such verb", verb)
		}
	}
}
