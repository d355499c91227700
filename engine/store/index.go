package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// An index holds all records in memory, as the lines that stand for them in
// the index file. A line is taken apart only when its record is asked for.
type index struct {
	entries []entry
	heads   map[Key]int32      // position of the newest entry of a key, plus one
	nodes   map[string][]int32 // positions of the entries of a node, as far as named says
	named   int
	size    int64  // how much of the file has been read
	tail    string // the last line of that: while it is where it was, the file is the same, and longer at most
}

type entry struct {
	key  Key
	id   string
	line string  // as in the file, without checksum
	rec  *Record // nil until asked for
	next int32   // position of the next older entry of the key, plus one
}

func (e *entry) record() *Record {
	if e.rec == nil {
		r, err := decodeLine(e.line)
		if err != nil {
			return nil // cannot be: the line's checksum was right when it was read
		}
		e.rec = r
	}
	return e.rec
}

func (x *index) newest(k Key) *entry { return x.entryAt(x.heads[k]) }
func (x *index) older(e *entry) *entry {
	return x.entryAt(e.next)
}

func (x *index) entryAt(pos int32) *entry {
	if pos == 0 {
		return nil
	}
	return &x.entries[pos-1]
}

// add puts e in its place among the entries of its key, newest first, unless
// it is there already.
func (x *index) add(e entry) {
	pos := int32(len(x.entries)) + 1
	head := x.heads[e.key]
	if head == 0 || x.entries[head-1].id < e.id {
		e.next = head
		x.entries = append(x.entries, e)
		x.heads[e.key] = pos
		return
	}
	at := head
	for {
		cur := &x.entries[at-1]
		if cur.id == e.id {
			return
		}
		if cur.next == 0 || x.entries[cur.next-1].id < e.id {
			e.next = cur.next
			cur.next = pos
			x.entries = append(x.entries, e)
			return
		}
		at = cur.next
	}
}

func (x *index) has(k Key, id string) bool {
	for e := x.newest(k); e != nil && e.id >= id; e = x.older(e) {
		if e.id == id {
			return true
		}
	}
	return false
}

// ofNode returns the positions of all entries of the node of that name. The
// map is made when first asked for: a run that reuses everything never asks.
func (x *index) ofNode(name string) []int32 {
	if x.nodes == nil {
		x.nodes = make(map[string][]int32)
	}
	for ; x.named < len(x.entries); x.named++ {
		line := x.entries[x.named].line
		for range 4 { // key, id, kind, effect
			_, line, _ = strings.Cut(line, "\t")
		}
		node, _, _ := strings.Cut(line, "\t")
		node = unescape(node)
		x.nodes[node] = append(x.nodes[node], int32(x.named))
	}
	return x.nodes[name]
}

// load reads the index and holds it against the names of the record files.
func (s *Store) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	torn, err := s.readIndex()
	if err != nil {
		return err
	}
	names, _ := s.shardNames("records") // a record that is not listed is missed, and made again
	missing := make([]string, 0)
	known := 0
	for _, n := range names {
		k, id, ok := parseRecordName(n)
		if !ok {
			continue
		}
		if s.index.has(k, id) {
			known++
			continue
		}
		missing = append(missing, n)
	}
	if !torn && len(missing) == 0 && known == len(s.index.entries) {
		return nil
	}
	return s.mend(torn, missing, len(s.index.entries)-known)
}

// mend brings the index in line with the records. Another process may be
// adding a record at this moment, so it looks again under the lock.
func (s *Store) mend(torn bool, missing []string, gone int) error {
	if s.readOnly == nil {
		lock, err := s.lockFile("index", unix.LOCK_EX)
		if err != nil {
			return err
		}
		defer lock.Unlock()
		if _, err := s.catchUp(); err != nil {
			return err
		}
	}
	var unread []error
	added := 0
	for _, n := range missing {
		k, id, _ := parseRecordName(n)
		if s.index.has(k, id) {
			continue
		}
		r, err := s.readRecord(k, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			unread = append(unread, err)
			continue
		}
		s.index.add(entry{key: k, id: id, rec: r, line: encodeLine(r)})
		added++
	}
	for _, err := range unread {
		s.said = append(s.said, err.Error()+"; it is left alone, and its node counts as having no record")
	}
	if gone > 0 {
		s.dropVanished()
	}
	if !torn && added == 0 && gone == 0 {
		return nil
	}
	if torn || added > 0 {
		s.said = append(s.said, fmt.Sprintf("the index was behind the records and was mended (%d added)", added))
	}
	if s.readOnly != nil {
		return nil
	}
	return s.rewriteIndex()
}

// dropVanished forgets the entries whose record file is gone.
func (s *Store) dropVanished() {
	old := s.index
	s.index.entries, s.index.nodes, s.index.named = nil, nil, 0
	s.index.heads = make(map[Key]int32, len(old.heads))
	for _, e := range old.entries {
		if _, err := os.Lstat(s.recordPath(e.key, e.id)); !errors.Is(err, fs.ErrNotExist) {
			e.next = 0
			s.index.add(e)
		}
	}
}

// withIndex runs f while no other process writes records, with an index that
// knows all that they wrote before.
func (s *Store) withIndex(f func() error) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lock, err := s.lockFile("index", unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := s.catchUp(); err != nil {
		return err
	}
	return f()
}

// Refresh learns what other processes have recorded since Open.
func (s *Store) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.catchUp()
	return err
}

// catchUp reads what was appended to the index since it was last read, or all
// of it if it was rewritten. It reports whether the end is torn. Whether it was
// rewritten cannot be told by its inode, which may have been given again.
func (s *Store) catchUp() (torn bool, err error) {
	text, err := s.indexText(s.index.size - int64(len(s.index.tail)))
	if errors.Is(err, fs.ErrNotExist) {
		s.index.size, s.index.tail = 0, ""
		return false, nil
	}
	if err != nil {
		return false, err
	}
	added, same := strings.CutPrefix(text, s.index.tail)
	if !same || s.index.size == 0 {
		return s.readIndex()
	}
	return !s.index.take(added), nil
}

func (s *Store) readIndex() (torn bool, err error) {
	s.index = index{heads: make(map[Key]int32)}
	text, err := s.indexText(0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return !s.index.take(text), err
}

// indexText returns the index file from offset on.
func (s *Store) indexText(offset int64) (string, error) {
	f, err := os.Open(s.Path("index"))
	if err != nil {
		return "", fmt.Errorf("read index: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read index: %w", err)
	}
	b := make([]byte, max(0, st.Size()-offset))
	n, err := f.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read index: %w", err)
	}
	return string(b[:n]), nil
}

// take adds the lines of text, which goes on where the index ends, up to the
// first that is torn or broken. It reports whether that was all.
func (x *index) take(text string) (whole bool) {
	if x.entries == nil {
		n := strings.Count(text, "\n")
		x.entries = make([]entry, 0, n)
		x.heads = make(map[Key]int32, n)
	}
	for text != "" {
		end := strings.IndexByte(text, '\n')
		if end < 0 {
			return false
		}
		e, ok := parseEntry(text[:end])
		if !ok {
			return false
		}
		x.add(e)
		x.ends(text[:end+1])
		text = text[end+1:]
	}
	return true
}

// ends notes that line is now the last of what has been read.
func (x *index) ends(line string) {
	x.size += int64(len(line))
	x.tail = line
}

// appendIndex adds r to memory and file. If that fails, the record is there
// all the same, and the next Open finds that the index lacks it.
func (s *Store) appendIndex(r *Record) error {
	line := encodeLine(r)
	s.index.add(entry{key: r.Key, id: r.ID, rec: r, line: line})
	if err := s.at("index append"); err != nil {
		return err
	}
	f, err := os.OpenFile(s.Path("index"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != s.index.size { // a torn tail: write over it
		if err := f.Truncate(s.index.size); err != nil {
			return err
		}
	}
	text := checked(line)
	if _, err := f.WriteAt([]byte(text), s.index.size); err != nil {
		return err
	}
	s.index.ends(text)
	return nil
}

func (s *Store) rewriteIndex() error {
	if err := s.at("index rewrite"); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Path("tmp"), "index-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	var written index
	for i := range s.index.entries {
		line := checked(s.index.entries[i].line)
		_, _ = w.WriteString(line) // Flush tells
		written.ends(line)
	}
	err = errors.Join(w.Flush(), f.Sync(), f.Chmod(0o666), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.Path("index"))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("rewrite index: %w", err)
	}
	s.index.size, s.index.tail = written.size, written.tail
	return nil
}
