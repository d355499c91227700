package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipeline/internal/conversation"
	"pipeline/internal/hf/hubtest"
	"pipeline/steps"
)

const fixtures = "../../internal/transcript/testdata/"

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(fixtures + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var first, second = hubtest.Commit("1"), hubtest.Commit("2")

// startHub serves one gated data set: 42 conversations in two shards of one
// split, and one more after an update.
func startHub(t *testing.T) *hubtest.Hub {
	t.Helper()
	shards := hubtest.Files{"data/2025_07-00000-of-00002.parquet": fixture(t, "messages-zstd-v2.parquet"), "data/2025_07-00001-of-00002.parquet": fixture(t, "sequence.parquet")}
	more := hubtest.Files{"README.md": []byte("more"), "data/2025_07-00000-of-00001.parquet": fixture(t, "sequence.parquet")}
	return hubtest.Start(t, map[string][]string{"hf_granted": {"owner/replay-playback"}, "hf_other": nil}, &hubtest.Repo{
		ID: "owner/replay-playback", Gated: true, Card: map[string]any{"license": "odc-by"},
		Revisions: map[string]string{"main": first}, Commits: map[string]hubtest.Files{first: shards, second: more},
	})
}

// A world is what a step sees and leaves behind.
type world struct {
	home, token string
	files       map[string]*bytes.Buffer
	doubts      []string
}

type buffer struct{ *bytes.Buffer }

func (buffer) Close() error { return nil }

func (w *world) run(t *testing.T, s *Step) error {
	t.Helper()
	w.files, w.doubts = map[string]*bytes.Buffer{}, nil
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s.Run(context.Background(), &steps.Env{
		Campaign: steps.Campaign{Home: w.home}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Create: func(name string) (io.WriteCloser, error) {
			w.files[name] = new(bytes.Buffer)
			return buffer{w.files[name]}, nil
		},
		Doubt:    func(format string, a ...any) { w.doubts = append(w.doubts, fmt.Sprintf(format, a...)) },
		Progress: func(steps.Progress) {},
		Secret: func(name string) (string, error) {
			if name != "HF_TOKEN" || w.token == "" {
				return "", errors.New("not set")
			}
			return w.token, nil
		},
		Resolve: func(p string) string { return p },
	})
}

func (w *world) about(t *testing.T) conversation.Dataset {
	t.Helper()
	d, err := conversation.ParseDataset(w.files[conversation.DatasetFile].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var tally conversation.Tally
	for c, err := range conversation.Read(bytes.NewReader(w.files[conversation.FileName].Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		if err := tally.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	if tally.Digest() != d.Digest || !reflect.DeepEqual(tally.Summary(), d.Summary) {
		t.Errorf("dataset.json is not of conversations.jsonl: %+v", d)
	}
	return d
}

func (w *world) ids(t *testing.T) string {
	t.Helper()
	var ids []string
	for c, err := range conversation.Read(bytes.NewReader(w.files[conversation.FileName].Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return strings.Join(ids, " ")
}

func step(hub *hubtest.Hub, change func(*Step)) *Step {
	s := Kind().New().(*Step)
	s.Source, s.ID, s.Hub, s.pause = playback, "owner/replay-playback", hub.URL, time.Millisecond
	change(s)
	return s
}

func TestFromTheHub(t *testing.T) {
	hub := startHub(t)
	w := &world{home: t.TempDir(), token: "hf_granted"}
	if err := w.run(t, step(hub, func(s *Step) { s.Split = "2025_07" })); err != nil {
		t.Fatal(err)
	}
	d := w.about(t)
	if d.Name != "owner/replay-playback" || d.Source != "replay-playback" || d.Revision != first || d.Split != "2025_07" || d.License != "odc-by" || len(d.Files) != 2 {
		t.Errorf("%+v", d)
	}
	if d.Summary.Conversations != 45 || d.Summary.Requests != 47 || d.Summary.Recorded != 46 {
		t.Errorf("%+v", d.Summary)
	}
	if len(w.doubts) != 1 || !strings.HasPrefix(w.doubts[0], "rows_left_out: 1 rows of data set owner/replay-playback") {
		t.Errorf("%q", w.doubts)
	}
	for name, text := range w.files {
		if strings.Contains(text.String(), "hf_granted") || strings.Contains(text.String(), hub.URL) {
			t.Errorf("%s holds a secret or an address", name)
		}
	}
	// The second time the files are there; only the first shard is needed for
	// the first conversations.
	hub.Requests()
	if err := w.run(t, step(hub, func(s *Step) { s.MaxConversations = 2; s.MaxTurns = 1 })); err != nil {
		t.Fatal(err)
	}
	if d := w.about(t); w.ids(t) != "c-1 c-2" || d.Summary.Requests != 2 || len(d.Files) != 1 {
		t.Errorf("%s %+v", w.ids(t), d)
	}
	for _, r := range hub.Requests() {
		if !strings.HasPrefix(r, "GET /api/") {
			t.Errorf("fetched again: %s", r)
		}
	}
}

// A branch that moves gives another data set; the same files in another
// commit give the same bytes.
func TestRevisions(t *testing.T) {
	hub := startHub(t)
	w := &world{home: t.TempDir(), token: "hf_granted"}
	digest := func(revision string) string {
		if err := w.run(t, step(hub, func(s *Step) { s.Revision = revision })); err != nil {
			t.Fatal(err)
		}
		return w.about(t).Digest.Short()
	}
	old, pinned := digest(""), digest(first)
	hub.Edit(func(r map[string]*hubtest.Repo) { r["owner/replay-playback"].Revisions["main"] = second })
	moved, still := digest("main"), digest(first)
	if old != pinned || pinned != still || moved == old {
		t.Errorf("%s %s %s %s", old, pinned, moved, still)
	}
	if step(hub, func(*Step) {}).Fixed() || !step(hub, func(s *Step) { s.Revision = first }).Fixed() {
		t.Error("only a commit is fixed")
	}
}

func TestDrawn(t *testing.T) {
	hub := startHub(t)
	w := &world{home: t.TempDir(), token: "hf_granted"}
	draw := func(seed, n int) string {
		if err := w.run(t, step(hub, func(s *Step) { s.Seed, s.MaxConversations = &seed, n })); err != nil {
			t.Fatal(err)
		}
		if d := w.about(t); d.Seed == nil || *d.Seed != int64(seed) {
			t.Errorf("%+v", d)
		}
		return w.ids(t)
	}
	ten, again, other, five, all := draw(1, 10), draw(1, 10), draw(2, 10), draw(1, 5), draw(1, 0)
	if ten != again || ten == other || !strings.HasPrefix(ten, five) || !strings.HasPrefix(all, ten) {
		t.Errorf("\n%s\n%s\n%s\n%s\n%s", ten, again, other, five, all)
	}
	if n := len(strings.Fields(all)); n != 45 {
		t.Errorf("%d of 45", n)
	}
}

func TestRefused(t *testing.T) {
	hub := startHub(t)
	for _, test := range []struct {
		token  string
		change func(*Step)
		want   string
	}{
		{"", func(*Step) {}, "data set owner/replay-playback is gated and HF_TOKEN is not set: accept its terms at "},
		{"hf_other", func(*Step) {}, "the token in HF_TOKEN has no access to the gated data set owner/replay-playback: ask for access at "},
		{"hf_wrong", func(*Step) {}, "the hub does not accept the token in HF_TOKEN (401): make a read token at "},
		{"hf_granted", func(s *Step) { s.ID = "" }, "there is no data set replay-playback at "},
		{"hf_granted", func(s *Step) { s.Revision = "v2" }, "data set owner/replay-playback has no revision v2: "},
		{"hf_granted", func(s *Step) { s.Split = "2024" }, "data set owner/replay-playback at revision main has no split 2024: it has 2025_07"},
		{"hf_granted", func(s *Step) { s.Config = "en" }, "data set owner/replay-playback at revision main has no config en: it has default"},
		{"hf_granted", func(s *Step) { s.Columns.User = "ask" }, "data/2025_07-00000-of-00002.parquet: row 1: column ask holds no conversation (there are: conversation_id, messages, model, turn)"},
	} {
		w := &world{home: t.TempDir(), token: test.token}
		err := w.run(t, step(hub, test.change))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || !errors.Is(err, steps.ErrPermanent) || errors.Is(err, steps.ErrUnreachable) {
			t.Errorf("got %v\nwant %s", err, test.want)
		}
	}
	s := step(hub, func(s *Step) { s.MaxDownloadMB = 1 })
	hub.Edit(func(r map[string]*hubtest.Repo) {
		r["owner/replay-playback"].Commits[first]["data/2025_07-00000-of-00002.parquet"] = make([]byte, 2<<20)
	})
	w := &world{home: t.TempDir(), token: "hf_granted"}
	if err := w.run(t, s); err == nil || !strings.Contains(err.Error(), "is more than max_download_mb, 1 MB") {
		t.Error(err)
	}
}

// A hub that is out of order was not seen: the last record serves.
func TestOutOfOrder(t *testing.T) {
	hub := startHub(t)
	hub.Fail(hubtest.Fault{Path: "/tree/", Times: 100, Status: http.StatusServiceUnavailable})
	w := &world{home: t.TempDir(), token: "hf_granted"}
	if err := w.run(t, step(hub, func(*Step) {})); !errors.Is(err, steps.ErrUnreachable) || errors.Is(err, steps.ErrPermanent) {
		t.Error(err)
	}
}

func TestMade(t *testing.T) {
	w := &world{}
	make := func(change func(*Step)) conversation.Dataset {
		s := Kind().New().(*Step)
		change(s)
		if err := w.run(t, s); err != nil {
			t.Fatal(err)
		}
		return w.about(t)
	}
	seed := 3
	all, again, few, other := make(func(*Step) {}), make(func(*Step) {}), make(func(s *Step) { s.MaxConversations = 2 }), make(func(s *Step) { s.Seed = &seed })
	if all.Digest != again.Digest || all.Digest == other.Digest || all.Summary.Conversations != 64 || few.Summary.Conversations != 2 || all.Summary.Open != 0 {
		t.Errorf("%+v\n%+v\n%+v", all, few, other)
	}
	if !Kind().New().(*Step).Fixed() {
		t.Error("what is made here never changes")
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Step){
		"id: source huggingface needs":                   func(s *Step) { s.Source = hub },
		`id: "a/b/c" is no id of a data set`:             func(s *Step) { s.Source, s.ID = hub, "a/b/c" },
		"file: source file needs a file":                 func(s *Step) { s.Source = file },
		"file: is read with source file only":            func(s *Step) { s.File = "x.jsonl" },
		"split: is of a data set on the hub":             func(s *Step) { s.Split = "train" },
		"columns: are of a file":                         func(s *Step) { s.Columns.User = "x" },
		"columns: give either conversation, or user and": func(s *Step) { s.Source, s.File, s.Columns = file, "x", Columns{Conversation: "a", User: "b"} },
	} {
		s := Kind().New().(*Step)
		change(s)
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
