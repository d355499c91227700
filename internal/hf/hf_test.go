package hf_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/hf"
	"pipeline/internal/hf/hubtest"
)

var a, b, c = hubtest.Commit("a"), hubtest.Commit("b"), hubtest.Commit("c")

// content is n bytes that are different in every kilobyte.
func content(name string, n int) []byte {
	return bytes.Repeat([]byte(name+"0123456789abcdef"), n/len(name)+1)[:n]
}

func repos() []*hubtest.Repo {
	shards := hubtest.Files{"README.md": []byte("# x"), "data/2025_07-00000-of-00002.parquet": content("j0", 5000),
		"data/2025_07-00001-of-00002.parquet": content("j1", 3000), "data/2025_08-00000-of-00001.parquet": content("a0", 100)}
	return []*hubtest.Repo{
		{ID: "own/open", Revisions: map[string]string{"main": a, "v1": b}, Commits: map[string]hubtest.Files{a: shards, b: {"data.parquet": content("v", 10)}},
			Card: map[string]any{"license": []string{"mit", "odc-by"}}},
		{ID: "own/gated", Gated: true, Revisions: map[string]string{"main": a}, Commits: map[string]hubtest.Files{a: shards}},
		{ID: "own/private", Private: true, Revisions: map[string]string{"main": a}, Commits: map[string]hubtest.Files{a: shards}},
		{ID: "own/json", Revisions: map[string]string{"main": a, "refs/convert/parquet": c}, Commits: map[string]hubtest.Files{
			a: {"x.jsonl": []byte("{}")}, b: {"x.jsonl": []byte("{}")},
			c: {"en/train/0000.parquet": content("t", 300), "en/partial-test/0000.parquet": content("p", 300), "de/train/0000.parquet": content("d", 300)}}},
		{ID: "own/none", Revisions: map[string]string{"main": a}, Commits: map[string]hubtest.Files{a: {"x.txt": []byte("x")}}},
		{ID: "own/card", Revisions: map[string]string{"main": a}, Commits: map[string]hubtest.Files{a: {
			"chats/one.parquet": content("1", 300), "chats/deep/two.parquet": content("2", 300), "eval.parquet": content("3", 300), "other.parquet": content("4", 300)}},
			Card: map[string]any{"license": "mit", "configs": []any{
				map[string]any{"config_name": "chats", "data_files": []any{
					map[string]any{"split": "train", "path": []string{"chats/**"}}, map[string]any{"split": "test", "path": "eval.parquet"}}},
				map[string]any{"config_name": "rest", "data_files": "other*"}}}},
	}
}

// start returns a hub, and a client with the token (or none).
func start(t *testing.T, token string) (*hubtest.Hub, *hf.Client) {
	t.Helper()
	hub := hubtest.Start(t, map[string][]string{"hf_good": {"own/gated", "own/private"}, "hf_poor": nil}, repos()...)
	client, err := hf.New(hf.Config{Endpoint: hub.URL + "/", Token: token, Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return hub, client
}

func none(int64) {}

func TestReadsASplit(t *testing.T) {
	for _, id := range []string{"own/open", "own/gated", "own/private"} {
		hub, client := start(t, "hf_good")
		s, err := client.Open(context.Background(), id, "")
		if err != nil {
			t.Fatal(err)
		}
		if s.Commit != a || s.Revision != "main" || s.Converted != "" || id == "own/open" && s.License != "mit, odc-by" {
			t.Errorf("%+v", s)
		}
		sel, err := s.Pick("", "2025_07")
		if err != nil || sel.Config != "default" || len(sel.Files) != 2 || sel.Partial {
			t.Fatal(sel, err)
		}
		dir := t.TempDir()
		for i, want := range [][]byte{content("j0", 5000), content("j1", 3000)} {
			path, err := s.Fetch(context.Background(), sel.Files[i], dir, none)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("file %d: %d bytes, %v", i, len(got), err)
			}
		}
		// What was fetched once is not fetched again.
		hub.Requests()
		if _, err := s.Fetch(context.Background(), sel.Files[0], dir, none); err != nil {
			t.Error(err)
		}
		if again := hub.Requests(); len(again) != 0 {
			t.Errorf("fetched again: %v", again)
		}
		if left, err := filepath.Glob(dir + "/*.part"); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// A small file lies in git, and has no SHA-256 in the listing.
func TestSmallFile(t *testing.T) {
	hub, client := start(t, "")
	s, err := client.Open(context.Background(), "own/open", "v1")
	if err != nil || s.Commit != b {
		t.Fatal(s, err)
	}
	sel, err := s.Pick("", "")
	if err != nil || sel.Split != "train" {
		t.Fatal(sel, err)
	}
	dir := t.TempDir()
	path, err := s.Fetch(context.Background(), sel.Files[0], dir, none)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("vvvvvvvvvX"), 0o666); err != nil {
		t.Fatal(err)
	}
	hub.Requests()
	if path, err = s.Fetch(context.Background(), sel.Files[0], dir, none); err != nil || len(hub.Requests()) != 1 {
		t.Errorf("a file that was changed is not fetched again: %v", err)
	}
}

func TestSplits(t *testing.T) {
	_, client := start(t, "")
	for _, test := range []struct {
		id, config, split string
		want              string // paths, or the error
	}{
		{"own/card", "chats", "", "chats/deep/two.parquet chats/one.parquet"},
		{"own/card", "chats", "test", "eval.parquet"},
		{"own/card", "rest", "", "other.parquet"},
		{"own/card", "", "", "! data set own/card at revision main has no config default: it has chats, rest"},
		{"own/card", "chats", "dev", "! data set own/card at revision main has no split dev: it has test, train"},
		{"own/json", "en", "train", "en/train/0000.parquet"},
		{"own/json", "en", "test", "en/partial-test/0000.parquet partial"},
		{"own/open", "", "", "! data set own/open at revision main has no split train: it has 2025_07, 2025_08"},
	} {
		s, err := client.Open(context.Background(), test.id, "")
		if err != nil {
			t.Fatal(err)
		}
		sel, err := s.Pick(test.config, test.split)
		var got []string
		for _, f := range sel.Files {
			got = append(got, f.Path)
		}
		if sel.Partial {
			got = append(got, "partial")
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = "! " + err.Error()
		}
		if text != test.want {
			t.Errorf("%s %s/%s: %s, want %s", test.id, test.config, test.split, text, test.want)
		}
		if test.id == "own/json" && s.Converted != c {
			t.Errorf("%+v", s)
		}
	}
}

// Every refusal says in one sentence what is wrong and what to do.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		token, id, revision string
		problem             hf.Problem
		want                string
	}{
		{"", "own/gated", "", hf.NoToken, "data set own/gated is gated and HF_TOKEN is not set: accept its terms at HUB/datasets/own/gated and export a read token as HF_TOKEN"},
		{"hf_poor", "own/gated", "", hf.NoAccess, "the token in HF_TOKEN has no access to the gated data set own/gated: ask for access at HUB/datasets/own/gated with the account of that token (a fine-grained token also needs the permission to read public gated repositories)"},
		{"hf_wrong", "own/gated", "", hf.BadToken, "the hub does not accept the token in HF_TOKEN (401): make a read token at HUB/settings/tokens and export it as HF_TOKEN"},
		{"", "own/private", "", hf.NoDataset, "there is no data set own/private at HUB, or it is private: check the id (owner/name), and if it is private export a token of its owner as HF_TOKEN"},
		{"", "own/nothing", "", hf.NoDataset, "there is no data set own/nothing at HUB, or it is private: check the id (owner/name), and if it is private export a token of its owner as HF_TOKEN"},
		{"hf_poor", "own/private", "", hf.NoDataset, "there is no data set own/private at HUB that the token in HF_TOKEN may see: check the id (owner/name), and that the token is of an account with access to it"},
		{"", "own/open", "v9", hf.NoRevision, "data set own/open has no revision v9: give a branch, a tag or a commit that is listed at HUB/datasets/own/open/commits/main"},
		{"", "own/none", "", hf.NoFile, "data set own/none has no Parquet file at revision main, and the hub has made none of it: see HUB/datasets/own/none/tree/" + a},
		{"", "own/json", b, hf.NoFile, "data set own/json has no Parquet file at revision " + b + ", and the hub converts the newest state only (revision main): see HUB/datasets/own/json/tree/" + b},
	} {
		hub, client := start(t, test.token)
		_, err := client.Open(context.Background(), test.id, test.revision)
		var refused *hf.Error
		if !errors.As(err, &refused) || refused.Problem != test.problem {
			t.Errorf("%s with %q: %v", test.id, test.token, err)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), hub.URL, "HUB"); got != test.want {
			t.Errorf("%s with %q\n got %s\nwant %s", test.id, test.token, got, test.want)
		}
		if hf.Unreachable(err) {
			t.Errorf("%v: is no outage", err)
		}
	}
}

// Access is asked about before anything is fetched, and a mirror that has no
// such route is asked for what it has.
func TestMirrorWithoutAuthCheck(t *testing.T) {
	hub, client := start(t, "")
	hub.Fail(hubtest.Fault{Path: "/auth-check", Times: 1, Status: http.StatusNotFound})
	if _, err := client.Open(context.Background(), "own/open", ""); err != nil {
		t.Error(err)
	}
	if asked := hub.Requests(); asked[0] != "GET /api/datasets/own/open/auth-check" {
		t.Errorf("asked %v", asked)
	}
}

func TestTriesAgain(t *testing.T) {
	hub, client := start(t, "")
	hub.Fail(hubtest.Fault{Path: "/auth-check", Times: 2, Status: http.StatusServiceUnavailable})
	hub.Fail(hubtest.Fault{Path: "/tree/", Times: 2, Status: http.StatusTooManyRequests, Header: http.Header{"Ratelimit": {`"api";r=0;t=0`}}})
	if _, err := client.Open(context.Background(), "own/open", ""); err != nil {
		t.Fatal(err)
	}
	hub.Fail(hubtest.Fault{Path: "/auth-check", Times: 5, Status: http.StatusTooManyRequests})
	_, err := client.Open(context.Background(), "own/open", "")
	want := "the hub " + hub.URL + " answers 429 Too Many Requests (after 5 tries): see whether it can be reached from here, or try later"
	if !hf.Unreachable(err) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	client, err := hf.New(hf.Config{Endpoint: address, Pause: time.Hour}) // that nobody waits for
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	if _, err := client.Open(soon, "own/open", ""); !hf.Unreachable(err) || !strings.Contains(err.Error(), "the hub "+address+" does not answer") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Open(ctx, "own/open", ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A download that breaks off is continued where it ended, and one that is
// damaged is made again.
func TestContinuesAndVerifies(t *testing.T) {
	hub, client := start(t, "hf_good")
	s, err := client.Open(context.Background(), "own/gated", "")
	if err != nil {
		t.Fatal(err)
	}
	sel, err := s.Pick("", "2025_07")
	if err != nil {
		t.Fatal(err)
	}
	f, dir := sel.Files[0], t.TempDir()
	name := "/" + f.SHA256.String()
	hub.Requests()
	hub.Fail(hubtest.Fault{Path: name, Times: 1, Bytes: 2000})
	hub.Fail(hubtest.Fault{Path: name, Times: 1, Status: http.StatusBadGateway})
	hub.Fail(hubtest.Fault{Path: name, Times: 1, Bytes: 1000})
	var last int64
	path, err := s.Fetch(context.Background(), f, dir, func(n int64) { last = n })
	if err != nil || last != f.Size {
		t.Fatal(err, last)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content("j0", 5000)) {
		t.Error("what was continued differs", err)
	}
	asked := hub.Requests()
	for _, want := range []string{"GET " + name, "GET " + name + " bytes=2000-", "GET " + name + " bytes=3000-"} {
		if !slices.Contains(asked, want) {
			t.Errorf("%s is not in %v", want, asked)
		}
	}

	hub.Fail(hubtest.Fault{Path: name, Times: 1, Corrupt: true})
	if path, err = s.Fetch(context.Background(), f, t.TempDir(), none); err != nil {
		t.Errorf("damaged once: %v", err)
	}
	hub.Fail(hubtest.Fault{Path: name, Times: 2, Corrupt: true})
	if _, err = s.Fetch(context.Background(), f, t.TempDir(), none); err == nil || !strings.Contains(err.Error(), "what came is not what the hub lists") {
		t.Errorf("damaged twice: %v", err)
	}

	// What another process left, of a file that has another length since.
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, f.SHA256.String()+".part"), content("junk", 9000), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Fetch(context.Background(), f, dir, none); err != nil {
		t.Error(err)
	}
	hub.Fail(hubtest.Fault{Path: name, Times: 100, Bytes: 10})
	_, err = s.Fetch(context.Background(), f, t.TempDir(), none)
	if !hf.Unreachable(err) || !strings.Contains(err.Error(), "after 5 tries; what has come is kept") {
		t.Error(err)
	}
}

func TestFileIsGone(t *testing.T) {
	hub, client := start(t, "")
	s, err := client.Open(context.Background(), "own/open", "")
	if err != nil {
		t.Fatal(err)
	}
	sel, err := s.Pick("", "2025_07")
	if err != nil {
		t.Fatal(err)
	}
	hub.Edit(func(repos map[string]*hubtest.Repo) { repos["own/open"].Commits[a] = hubtest.Files{} })
	_, err = s.Fetch(context.Background(), sel.Files[0], t.TempDir(), none)
	var refused *hf.Error
	if !errors.As(err, &refused) || refused.Problem != hf.NoFile {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	for _, address := range []string{"huggingface.co", "ftp://x", "http://user:secret@x", "http://"} {
		if _, err := hf.New(hf.Config{Endpoint: address}); err == nil {
			t.Errorf("%s is taken", address)
		}
	}
	for _, id := range []string{"", "../x", "a/b/c", "a/../b", "/a", "a b"} {
		if hf.CheckID(id) == nil {
			t.Errorf("%q is taken", id)
		}
	}
	if hf.CheckID("squad") != nil || hf.CheckID("own.er/na-me_2") != nil {
		t.Error("an id is refused")
	}
}
