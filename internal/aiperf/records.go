package aiperf

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"os"
	"runtime"
	"slices"
	"time"

	"pipeline/lake/perf"
)

// Records are the requests of a run, each of which AIPerf wrote on a line of
// profile_export.jsonl. They are on disk, but for a few numbers of each.
type Records struct {
	Warmup, Measured, Failed int       // requests; Failed are of those measured
	Start, End               time.Time // of all, warm-up included

	file    string // its name
	path    string
	size    int64
	changed time.Time

	base     int64 // Start, in ns
	blocks   [][]row
	index    []int32 // place of each record in the order of sending, its warm-up or measured ones apart
	session  []int32 // nil if each request is a session of its own
	failures map[int]*perf.RequestError
	unknown  map[string][]byte
	phases   int32
	absent   absences

	serverCount bool // AIPerf was asked to take the server's count for its own
}

// absences counts the measured records that lack a field.
type absences struct {
	credit, correlation, ttft, latency, gaps, usage, length int
}

// readRecords reads all records once, to check them and to keep what is short.
func readRecords(f *folder) (*Records, error) {
	path := f.path(recordsFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the records of AIPerf: %w", err)
	}
	rs := &Records{
		file: f.files[recordsFile], path: path, size: info.Size(), changed: info.ModTime(),
		failures: map[int]*perf.RequestError{}, unknown: map[string][]byte{},
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%s: the file is empty", rs.file)
	}
	sessions, err := rs.load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rs.file, err)
	}
	if len(rs.blocks) == 0 {
		return nil, fmt.Errorf("%s: no record is in it", rs.file)
	}
	rs.arrange(sessions)
	return rs, nil
}

// A batch is what the records of one block are.
type batch struct {
	rows     []row
	sessions []uint64
	failures map[int]*perf.RequestError // by place in rows
	phases   int32
}

// load fills blocks. It returns the hash of the session of each record.
func (rs *Records) load() ([]uint64, error) {
	seed := maphash.MakeSeed()
	readers := make([]*reader, max(1, min(runtime.GOMAXPROCS(0), 8)))
	for i := range readers {
		readers[i] = newReader(seed)
	}
	var sessions []uint64
	n := 0
	for b, err := range inOrder(rs.path, func(worker int, b block) (batch, error) { return readers[worker].block(b) }) {
		if err != nil {
			return nil, err
		}
		if len(b.rows) == 0 {
			continue
		}
		rs.blocks = append(rs.blocks, b.rows)
		sessions = append(sessions, b.sessions...)
		for i, failure := range b.failures {
			rs.failures[n+i] = failure
		}
		rs.phases = max(rs.phases, b.phases)
		n += len(b.rows)
	}
	for _, rd := range readers {
		for name, value := range rd.unknown {
			rs.unknown[name] = value
		}
	}
	return sessions, nil
}

func (rd *reader) block(b block) (batch, error) {
	out := batch{rows: make([]row, b.count), sessions: make([]uint64, b.count), failures: map[int]*perf.RequestError{}}
	i := 0
	for n, line := range lines(b.text) {
		if err := rd.read(line, &out.rows[i]); err != nil {
			return batch{}, fmt.Errorf("line %d: %w", b.line+n, err)
		}
		out.sessions[i] = rd.session
		if rd.failure != nil {
			out.failures[i] = rd.failure
		}
		out.phases = max(out.phases, rd.phase)
		i++
	}
	return out, nil
}

// all yields the rows in the order of the file.
func (rs *Records) all() iter.Seq2[int, *row] {
	return func(yield func(int, *row) bool) {
		n := 0
		for _, rows := range rs.blocks {
			for i := range rows {
				if !yield(n, &rows[i]) {
					return
				}
				n++
			}
		}
	}
}

// arrange counts the records, and finds their order and their sessions.
func (rs *Records) arrange(sessions []uint64) {
	starts := make([]int64, 0, len(sessions))
	var last int64
	turns := false
	for i, r := range rs.all() {
		starts = append(starts, r.start)
		if i == 0 {
			rs.base = r.start
		}
		rs.base, last = min(rs.base, r.start), max(last, r.end)
		if r.credit > 0 {
			rs.base = min(rs.base, r.credit)
		}
		turns = turns || r.turn > 0
		rs.count(r, sessions[i])
	}
	rs.Start, rs.End = time.Unix(0, rs.base).UTC(), time.Unix(0, last).UTC()
	order := make([]int32, len(starts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(starts[a], starts[b]) })
	rs.number(order, sessions, turns)
}

func (rs *Records) count(r *row, session uint64) {
	if r.is(isWarmup) {
		rs.Warmup++
		return
	}
	rs.Measured++
	if r.is(hasError) {
		rs.Failed++
		return
	}
	for _, field := range []struct {
		absent bool
		n      *int
	}{
		{r.credit == 0, &rs.absent.credit}, {session == 0, &rs.absent.correlation}, {r.ttft < 0, &rs.absent.ttft}, {r.latency < 0, &rs.absent.latency},
		{r.gapsAt == 0, &rs.absent.gaps}, {r.usageOSL < 0, &rs.absent.usage}, {r.osl < 0 && r.usageOSL < 0, &rs.absent.length},
	} {
		if field.absent {
			*field.n++
		}
	}
}

// number gives each record its place in the order of sending, and its session.
func (rs *Records) number(order []int32, sessions []uint64, turns bool) {
	rs.index = make([]int32, len(order))
	var seen map[uint64]int32
	if turns {
		rs.session = make([]int32, len(order))
		seen = map[uint64]int32{}
	}
	flat := make([]uint8, 0, len(order))
	for _, r := range rs.all() {
		flat = append(flat, r.flags)
	}
	var warmup, measured, next int32
	for _, i := range order {
		place := &measured
		if flat[i]&isWarmup != 0 {
			place = &warmup
		}
		rs.index[i] = *place
		*place++
		if !turns {
			continue
		}
		number, known := seen[sessions[i]]
		if !known || sessions[i] == 0 {
			number = next
			next++
			seen[sessions[i]] = number
		}
		rs.session[i] = number
	}
}

// Stream gives the requests in the words of package perf. It can be called
// again and again.
func (rs *Records) Stream(chunks bool) iter.Seq2[*perf.Request, error] {
	if chunks && rs.anyGaps() {
		return rs.withChunks()
	}
	return func(yield func(*perf.Request, error) bool) {
		var request perf.Request
		var cached int
		for i, r := range rs.all() {
			rs.request(i, r, &request, &cached)
			if !yield(&request, nil) {
				return
			}
		}
	}
}

func (rs *Records) anyGaps() bool {
	for _, r := range rs.all() {
		if r.gapsAt > 0 {
			return true
		}
	}
	return false
}

// request fills a request. cached is memory for the number that it points to.
func (rs *Records) request(i int, r *row, to *perf.Request, cached *int) {
	*to = perf.Request{
		Index: int(rs.index[i]), Warmup: r.is(isWarmup), Session: int(rs.index[i]), Turn: int(r.turn),
		IntendedNS: r.start - rs.base, SentNS: r.start - rs.base, WroteNS: perf.Never, ByteNS: perf.Never, EventNS: perf.Never,
		FirstNS: perf.Never, LastNS: perf.Never, EndNS: r.end - rs.base, ReusedConn: r.is(isReused), Error: rs.failures[i],
	}
	if rs.session != nil {
		to.Session = int(rs.session[i])
	}
	if r.credit > 0 {
		to.IntendedNS = r.credit - rs.base
	}
	to.AcquiredNS = to.IntendedNS
	if r.ack > 0 {
		to.ByteNS = r.ack - rs.base
	}
	if r.latency >= 0 {
		to.LastNS = to.SentNS + r.latency
		to.FirstNS = to.LastNS // an answer in one piece
		if r.ttft >= 0 {
			to.FirstNS = to.SentNS + r.ttft
		}
		to.EndNS = max(to.EndNS, to.LastNS)
	}
	// A request that failed has no length in AIPerf; what a window holds ended after it began.
	to.EndNS = max(to.EndNS, to.SentNS+1)
	to.ISL, to.OSL, to.TokenSource = r.lengths()
	if to.TokenSource == "tokenizer" && rs.serverCount {
		to.TokenSource = "usage"
	}
	if r.cached >= 0 && r.usageISL >= 0 {
		*cached = int(r.cached)
		to.Cached = cached
	}
}

// lengths returns the tokens of a request by the best count there is: the
// server's, else AIPerf's, else that of the content chunks.
func (r *row) lengths() (isl, osl int, source string) {
	isl = int(max(r.isl, 0))
	if r.usageISL >= 0 {
		isl = int(r.usageISL)
	}
	switch {
	case r.usageOSL >= 0:
		return isl, int(r.usageOSL), "usage"
	case r.osl >= 0:
		return isl, int(r.osl), "tokenizer"
	}
	return isl, int(r.chunks), "chunks"
}

// A group is the requests of one block with the times of their chunks.
type group struct {
	first int
	times []int64 // of all of them, one after another
	ends  []int   // where those of each request end in times
	zero  []int32 // gaps of each request that are zero: the chunk came in one read with the one before
}

// withChunks reads the file again, for the gaps between chunks.
func (rs *Records) withChunks() iter.Seq2[*perf.Request, error] {
	return func(yield func(*perf.Request, error) bool) {
		if err := rs.unchanged(); err != nil {
			yield(nil, err)
			return
		}
		rows := rs.cursor()
		free := make(chan *group, 16)
		var request perf.Request
		var cached int
		for g, err := range inOrder(rs.path, func(_ int, b block) (*group, error) { return rs.group(b, free) }) {
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", rs.file, err))
				return
			}
			begin := 0
			for i, end := range g.ends {
				rs.request(g.first+i, rows(g.first+i), &request, &cached)
				if end > begin {
					request.ChunkNS, request.Coalesced = g.times[begin:end], int(g.zero[i])
				}
				begin = end
				if !yield(&request, nil) {
					return
				}
			}
			select {
			case free <- g:
			default:
			}
		}
	}
}

// cursor returns a function that finds the row of a record. Records that
// follow one another are found fast.
func (rs *Records) cursor() func(int) *row {
	at, first := 0, 0
	return func(i int) *row {
		if i < first {
			at, first = 0, 0
		}
		for i >= first+len(rs.blocks[at]) {
			first += len(rs.blocks[at])
			at++
		}
		return &rs.blocks[at][i-first]
	}
}

func (rs *Records) unchanged() error {
	info, err := os.Stat(rs.path)
	if err != nil {
		return fmt.Errorf("read the records of AIPerf again: %w", err)
	}
	if info.Size() != rs.size || !info.ModTime().Equal(rs.changed) {
		return fmt.Errorf("%s: the file changed while it was read", rs.file)
	}
	return nil
}

// group parses the gaps of the records of a block.
func (rs *Records) group(b block, free chan *group) (*group, error) {
	var g *group
	select {
	case g = <-free:
	default:
		g = &group{}
	}
	*g = group{first: b.record, times: g.times[:0], ends: g.ends[:0], zero: g.zero[:0]}
	row := rs.cursor()
	i := b.record
	for n, line := range lines(b.text) {
		if i >= len(rs.index) {
			return nil, fmt.Errorf("line %d: the file has become longer", b.line+n)
		}
		r := row(i)
		zero := 0
		if r.gapsAt > 0 && r.ttft >= 0 && !r.is(hasError) {
			if int(r.gapsAt) >= len(line) || line[r.gapsAt] != '[' {
				return nil, fmt.Errorf("line %d: the file changed while it was read", b.line+n)
			}
			var err error
			first := r.start - rs.base + r.ttft
			if g.times, zero, err = gaps(line[r.gapsAt:], first, g.times); err != nil {
				return nil, fmt.Errorf("line %d: %w", b.line+n, err)
			}
		}
		g.ends, g.zero = append(g.ends, len(g.times)), append(g.zero, int32(zero))
		i++
	}
	return g, nil
}
