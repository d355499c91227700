package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"golang.org/x/sys/unix"

	"pipeline/engine/internal/sealed"
	"pipeline/internal/digest"
	"pipeline/steps"
)

func open(t testing.TB, home string, o Options) *Store {
	t.Helper()
	s, err := Open(home, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample puts a record with a manifest and one artifact into s.
func sample(t testing.TB, s *Store, question, answer string) *Record {
	t.Helper()
	r, err := try(s, question, answer)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func try(s *Store, question, answer string) (*Record, error) {
	m, err := s.Put([]byte(question))
	if err != nil {
		return nil, err
	}
	a, err := s.Put([]byte(answer))
	if err != nil {
		return nil, err
	}
	return s.Add(Record{Key: Key(m), Kind: "k", Effect: "measure", Node: "n[" + question + "]", Campaign: "c", Run: "r", Attempt: 1,
		Status: Complete, Artifacts: []steps.Artifact{{Name: "a b", Digest: a, Size: int64(len(answer)), Volatile: true}},
		Doubts: []string{"tab\there", "line\nbreak"}, Began: time.Unix(1, 5), Took: 3, Host: Host{Name: "h", PID: 7}, Reason: "a\\tb\tc\nd"})
}

func TestBlobs(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	d, err := s.Put([]byte("abc"))
	if err != nil || d != digest.Of([]byte("abc")) {
		t.Fatal(d, err)
	}
	b, err := s.Get(d)
	if err != nil || string(b) != "abc" {
		t.Fatal(string(b), err)
	}
	st, err := os.Stat(s.blobPath(d))
	if err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
	var be *BlobError
	if _, err := s.Get(digest.Of([]byte("no"))); !errors.As(err, &be) || !be.Missing {
		t.Errorf("a missing blob gave %v", err)
	}
	if err := os.Chmod(s.blobPath(d), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.blobPath(d), []byte("abd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(d); !errors.As(err, &be) || be.Missing {
		t.Errorf("a corrupt blob gave %v", err)
	}
	if aside, err := os.ReadFile(be.Aside); err != nil || string(aside) != "abd" || s.Has(d) {
		t.Errorf("set aside: %q %v, still there: %v", aside, err, s.Has(d))
	}
	if _, err := s.Put([]byte("abc")); err != nil || !s.Has(d) {
		t.Errorf("it could not be made again: %v", err)
	}
}

func TestRecordsComeBack(t *testing.T) {
	home := t.TempDir()
	s := open(t, home, Options{})
	first := sample(t, s, "q", "1")
	second := sample(t, s, "q", "2")
	check := func(s *Store) {
		t.Helper()
		recs := s.Records(first.Key)
		if len(recs) != 2 || recs[0].ID != second.ID || recs[1].ID != first.ID {
			t.Fatalf("got %d records", len(recs))
		}
		got, want := *recs[1], *first
		want.Host = got.Host
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("got  %#v\nwant %#v", got, want)
		}
		full, err := s.Read(first.Key, first.ID)
		if err != nil || full.Host.PID != 7 {
			t.Errorf("read: %v %v", full, err)
		}
		if n := s.OfNode("n[q]"); len(n) != 2 || n[0].ID != second.ID {
			t.Errorf("of node: %v", n)
		}
	}
	check(s)
	check(open(t, home, Options{}))
	index := filepath.Join(home, "index")
	for name, harm := range map[string]func() error{
		"deleted":  func() error { return os.Remove(index) },
		"torn":     func() error { return os.Truncate(index, sizeOfFile(index)-7) },
		"appended": func() error { return appendTo(index, "half a li") },
		"flipped":  func() error { return flip(index, 100) },
		"old": func() error {
			b, err := os.ReadFile(index)
			return errors.Join(err, os.WriteFile(index, b[:strings.IndexByte(string(b), '\n')+1], 0o666))
		},
	} {
		if err := harm(); err != nil {
			t.Fatal(name, err)
		}
		mended := open(t, home, Options{})
		check(mended)
		again := open(t, home, Options{})
		check(again)
		if len(again.Mended()) > 0 {
			t.Errorf("%s: mended twice: %v", name, again.Mended())
		}
	}
}

func sizeOfFile(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		panic(err)
	}
	return st.Size()
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func flip(path string, at int64) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o666)
}

func TestBrokenRecordIsSaid(t *testing.T) {
	home := t.TempDir()
	s := open(t, home, Options{})
	r := sample(t, s, "q", "1")
	path := s.recordPath(r.Key, r.ID)
	if err := errors.Join(os.Chmod(path, 0o644), flip(path, 30), os.Remove(filepath.Join(home, "index"))); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{})
	if len(s.Records(r.Key)) != 0 || len(s.Mended()) == 0 || !strings.Contains(s.Mended()[0], "checksum") {
		t.Errorf("records %v, said %v", s.Records(r.Key), s.Mended())
	}
	if rep, err := s.Verify(); err != nil || len(rep.Faults) != 1 {
		t.Errorf("verify: %v %v", rep, err)
	}
}

// The newest record is the last that was added, whatever the clock says.
func TestClockStepsBack(t *testing.T) {
	last := nextID("", time.Unix(2000, 0))
	for _, now := range []time.Time{time.Unix(1000, 0), time.Unix(1000, 1), time.Unix(3000, 0), time.Unix(2999, 0)} {
		id := nextID(last, now)
		if id <= last {
			t.Errorf("%s does not sort after %s", id, last)
		}
		last = id
	}
}

func TestTwoStoresOneFolder(t *testing.T) {
	home := t.TempDir()
	a, b := open(t, home, Options{}), open(t, home, Options{})
	r1 := sample(t, a, "q", "1")
	if err := b.Refresh(); err != nil || len(b.Records(r1.Key)) != 1 {
		t.Fatalf("b does not see it: %v", err)
	}
	var wg sync.WaitGroup
	for _, s := range []*Store{a, b, a, b} {
		wg.Go(func() {
			for i := range 10 {
				if _, err := try(s, "q", fmt.Sprint("answer ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range []*Store{a, b, open(t, home, Options{})} {
		if err := s.Refresh(); err != nil {
			t.Fatal(err)
		}
		recs := s.Records(r1.Key)
		if len(recs) != 41 || len(s.Mended()) > 0 {
			t.Errorf("%d records, mended %v", len(recs), s.Mended())
		}
		for i := 1; i < len(recs); i++ {
			if recs[i-1].ID <= recs[i].ID {
				t.Errorf("record %d is not older than %d", i, i-1)
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	home := t.TempDir()
	mount(t, home, "size=400k")
	s := open(t, home, Options{})
	kept := sample(t, s, "q", "small")
	_, err := try(s, "big", strings.Repeat("x", 1<<20))
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	s = open(t, home, Options{})
	rep, err := s.Verify()
	if err != nil || len(rep.Faults) > 0 || rep.Records != 1 {
		t.Errorf("verify: %+v %v", rep, err)
	}
	if b, err := s.Get(kept.Artifacts[0].Digest); err != nil || string(b) != "small" {
		t.Errorf("lost: %q %v", b, err)
	}
	if left, err := dirNames(s.Path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// mount puts a small file system there, or skips the test.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A process that is killed while it makes the folders leaves some of them, and
// the next one must make the rest. A file in the place of a folder stops the
// making there as a kill would.
func TestFoldersHalfMade(t *testing.T) {
	for _, at := range []string{"locks", "tmp", "quarantine", "runs", "blobs", "records"} {
		home := filepath.Join(t.TempDir(), "home")
		if err := os.Mkdir(home, 0o777); err != nil {
			t.Fatal(err)
		}
		stop := filepath.Join(home, at)
		if err := os.WriteFile(stop, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(home, Options{}); err == nil {
			t.Fatalf("a file named %s was taken for a folder", at)
		}
		if err := os.Remove(stop); err != nil {
			t.Fatal(err)
		}
		s := open(t, home, Options{})
		if err := s.Writable(); err != nil {
			t.Errorf("stopped at %s, then: %v", at, err)
		}
		for _, folder := range []string{"locks", "tmp", "quarantine", "runs", "blobs/ff", "records/ff"} {
			if _, err := os.Stat(filepath.Join(home, folder)); err != nil {
				t.Errorf("stopped at %s, then: %v", at, err)
			}
		}
	}
}

func TestReadOnly(t *testing.T) {
	home := t.TempDir()
	mount(t, home, "size=4m")
	r := sample(t, open(t, home, Options{}), "q", "1")
	if err := unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{})
	if len(s.Records(r.Key)) != 1 {
		t.Error("its records cannot be read")
	}
	if b, err := s.Get(r.Artifacts[0].Digest); err != nil || string(b) != "1" {
		t.Errorf("its blobs cannot be read: %v", err)
	}
	if _, err := try(s, "q2", "2"); !errors.Is(err, ErrReadOnly) || !errors.Is(s.Writable(), ErrReadOnly) {
		t.Errorf("a write gave %v", err)
	}
	if _, err := s.TryLock("x"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a lock gave %v", err)
	}
	if _, err := Open(filepath.Join(home, "new"), Options{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a new store on it gave %v", err)
	}
}

// A write that fails at any step leaves a store that verifies.
func TestFailAtEveryStep(t *testing.T) {
	dead := errors.New("dead")
	for n := 0; ; n++ {
		home := t.TempDir()
		count := -1
		s := open(t, home, Options{Fault: func(string) error {
			if count++; count >= n {
				return dead
			}
			return nil
		}})
		_, err := try(s, "q", "1")
		again := open(t, home, Options{})
		if rep, err := again.Verify(); err != nil || len(rep.Faults) > 0 {
			t.Errorf("step %d: %v %v", n, rep.Faults, err)
		}
		if _, err := try(again, "q", "2"); err != nil {
			t.Errorf("step %d: it cannot be written again: %v", n, err)
		}
		if err == nil {
			if n < 10 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		if !errors.Is(err, dead) {
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

func TestLocks(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	l, err := s.TryLock("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryLock("a"); !errors.Is(err, ErrLocked) || !s.Locked("a") {
		t.Errorf("a second lock gave %v", err)
	}
	got := make(chan bool)
	go func() {
		l, waited, err := s.Lock(t.Context(), "a")
		if err != nil {
			t.Error(err)
		} else {
			l.Unlock()
		}
		got <- waited
	}()
	l.Unlock()
	<-got
	if left, err := dirNames(s.Path("locks")); err != nil || s.Locked("a") || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	x, err1 := s.Share("b")
	y, err2 := s.Share("b")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if _, err := s.TryLock("b"); !errors.Is(err, ErrLocked) {
		t.Errorf("a shared lock could be had alone: %v", err)
	}
	x.Unlock()
	y.Unlock()
}

func TestGC(t *testing.T) {
	home := t.TempDir()
	s := open(t, home, Options{})
	kept := sample(t, s, "kept", "1")
	dropped := sample(t, s, "dropped", "2")
	loose, err := s.Put([]byte("loose"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(48 * time.Hour)
	young, err := s.PlanGC(Policy{Now: time.Now(), Grace: time.Hour})
	if err != nil || len(young.Blobs)+len(young.Records)+len(young.Files) > 0 {
		t.Errorf("within the grace: %+v %v", young, err)
	}
	plan, err := s.PlanGC(Policy{Now: old, Grace: time.Hour, Derived: time.Hour,
		Drop: func(r *Record) bool { return r.Node == "n[dropped]" }})
	if err != nil || len(plan.Records) != 1 || len(plan.Blobs) != 3 {
		t.Fatalf("%+v %v", plan, err)
	}
	busy, err := s.Share(BusyLock)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(plan); err == nil {
		t.Error("collected while a run was going on")
	}
	busy.Leave()
	if err := s.Collect(plan); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{})
	if len(s.Records(kept.Key)) != 1 || len(s.Records(dropped.Key)) != 0 || s.Has(loose) || len(s.Mended()) > 0 {
		t.Errorf("wrong things were collected; mended %v", s.Mended())
	}
	if rep, err := s.Verify(); err != nil || len(rep.Faults) > 0 || rep.Unreferenced > 0 {
		t.Errorf("verify: %+v %v", rep, err)
	}
}

// An index that was rewritten by others is read again, also if the new file
// has the inode and the size of the old one.
func TestRewrittenIndexIsReadAgain(t *testing.T) {
	home := t.TempDir()
	s := open(t, home, Options{})
	a, b := sample(t, s, "a", "1"), sample(t, s, "b", "2")
	reader := open(t, home, Options{})
	c := *b
	c.ID = nextID(b.ID, time.Now())
	text := checked(encodeLine(a)) + checked(encodeLine(&c))
	if err := os.WriteFile(s.Path("index"), []byte(text), 0o644); err != nil { // in place
		t.Fatal(err)
	}
	if err := reader.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got := reader.Records(b.Key); len(got) != 1 || got[0].ID != c.ID {
		t.Errorf("got %+v, want the one record %s", got, c.ID)
	}
}

// While there is a record that cannot be read, nobody can tell what it needs,
// and nothing is garbage.
func TestGCKeepsWhatItCannotRead(t *testing.T) {
	newer := func(t *testing.T, s *Store, r *Record) error {
		path := s.recordPath(r.Key, r.ID)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		body, err := sealed.Open(b)
		if err != nil {
			return err
		}
		body = []byte(strings.Replace(string(body), `"schema":1`, `"schema":2`, 1))
		return errors.Join(os.Remove(path), os.WriteFile(path, sealed.Seal(body, 0), 0o644), os.Remove(s.Path("index")))
	}
	rotten := func(t *testing.T, s *Store, r *Record) error {
		path := s.recordPath(r.Key, r.ID)
		return errors.Join(os.Chmod(path, 0o644), flip(path, 30), os.Remove(s.Path("index")))
	}
	noFolder := func(t *testing.T, s *Store, r *Record) error {
		shard := filepath.Dir(s.recordPath(r.Key, r.ID))
		return errors.Join(os.Rename(shard, shard+".away"), os.WriteFile(shard, nil, 0o644))
	}
	newerLine := func(t *testing.T, s *Store, r *Record) error {
		return os.WriteFile(s.Path("index"), []byte(checked(encodeLine(r)+"\tmore")), 0o644)
	}
	for name, spoil := range map[string]func(*testing.T, *Store, *Record) error{
		"a newer record": newer, "a rotten record": rotten, "a folder that cannot be listed": noFolder, "a newer index": newerLine,
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			s := open(t, home, Options{})
			r := sample(t, s, "q", "a measurement")
			policy := Policy{Now: time.Now().Add(48 * time.Hour), Grace: time.Hour}
			early, err := s.PlanGC(policy) // before
			if err != nil {
				t.Fatal(err)
			}
			early.Blobs = append(early.Blobs, r.Artifacts[0].Digest) // as if it had been garbage then
			if err := spoil(t, s, r); err != nil {
				t.Fatal(err)
			}
			s = open(t, home, Options{})
			if plan, err := s.PlanGC(policy); err == nil {
				t.Errorf("planned %+v", plan)
			}
			if err := s.Collect(early); err == nil {
				t.Error("collected")
			}
			if !s.Has(r.Artifacts[0].Digest) {
				t.Error("the measurement is gone")
			}
		})
	}
}

func TestIndexLines(t *testing.T) {
	law := func(node, reason, doubt, artifact string, began int64, took int64, volatile bool) bool {
		r := &Record{Schema: RecordSchema, Key: Key(digest.Of([]byte(node))), ID: "1", Kind: "k", Node: node, Reason: reason,
			Doubts: []string{doubt}, Began: time.Unix(0, began).UTC(), Took: time.Duration(took), Status: Failed,
			Artifacts: []steps.Artifact{{Name: artifact, Digest: digest.Of([]byte(doubt)), Size: took, Volatile: volatile}}}
		e, ok := parseEntry(strings.TrimSuffix(checked(encodeLine(r)), "\n"))
		if !ok {
			return false
		}
		got := e.record()
		return got != nil && fmt.Sprintf("%#v", got) == fmt.Sprintf("%#v", r)
	}
	valid := func(node, reason, doubt, artifact string, began, took int64, volatile bool) bool {
		clean := func(s string) string { return strings.ToValidUTF8(s, "?") }
		return law(clean(node), clean(reason), clean(doubt), clean(artifact), began, took, volatile)
	}
	if err := quick.Check(valid, nil); err != nil {
		t.Error(err)
	}
	if !law("a\\nb\\\tc", "x\ny", "\t", " \" ", 0, 0, true) {
		t.Error("white space is lost")
	}
}

func BenchmarkCommit(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	for i := 0; b.Loop(); i++ {
		if _, err := try(s, fmt.Sprint("q", i), fmt.Sprint("a", i)); err != nil {
			b.Fatal(err)
		}
	}
}
