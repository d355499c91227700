package loadgen

import (
	"bytes"
	"errors"
	"io"
)

// An Event is one server-sent event. Data is valid until the next Fill.
type Event struct {
	Name string // the event: field; "" for a plain message
	Data []byte // the data: lines, joined by \n
}

// MaxEvent is the size of the largest event an EventReader takes, in bytes.
// It bounds memory: a whole answer in one event is far smaller.
const MaxEvent = 16 << 20

// ErrEventTooLarge is what Fill returns for an event above MaxEvent.
var ErrEventTooLarge = errors.New("server-sent event larger than 16 MiB")

// An EventReader cuts a stream of bytes into server-sent events (HTML standard,
// section 9.2). Fill reads once, Next gives the events that are complete, so
// that the caller knows which events came in one read. Lines may end in \n or
// \r\n, events may be split over reads anywhere.
//
// Two liberties, for servers in the field: the last event counts even when the
// stream ends without its empty line (see Flush), and a byte order mark is
// skipped wherever a stream begins.
type EventReader struct {
	buf   []byte // buf[pos:] is not yet cut into lines
	pos   int
	seen  int    // bytes behind pos known to hold no end of line
	begun bool   // the first line has been seen
	data  []byte // data of the event under way, if it has more than one line or outlived its buffer
	one   []byte // its only data line so far, still in buf
	has   bool   // at least one data line was seen
	name  string
}

// Reset makes the reader ready for another stream and keeps its buffer.
func (r *EventReader) Reset() {
	*r = EventReader{buf: r.buf[:0], data: r.data[:0]}
}

// Fill reads once from src. It returns what Read returned.
func (r *EventReader) Fill(src io.Reader) (int, error) {
	r.keep()
	if r.pos > 0 {
		n := copy(r.buf, r.buf[r.pos:])
		r.buf, r.pos = r.buf[:n], 0
	}
	if len(r.buf)+len(r.data) > MaxEvent {
		return 0, ErrEventTooLarge
	}
	if cap(r.buf)-len(r.buf) < minRead {
		grown := make([]byte, len(r.buf), max(2*cap(r.buf), 2*minRead))
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := src.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	return n, err
}

// minRead is the least room a read is given: less would split reads that the
// network did not split.
const minRead = 8 << 10

// keep moves a data line that lives in the buffer out of it.
func (r *EventReader) keep() {
	if r.one != nil {
		r.data = append(r.data[:0], r.one...)
		r.one = nil
	}
}

// Next returns the next complete event with data, and false when more bytes
// are needed. Events without data (comments, retry:) are skipped.
func (r *EventReader) Next() (Event, bool) {
	for {
		end := bytes.IndexByte(r.buf[r.pos+r.seen:], '\n')
		if end < 0 {
			r.seen = len(r.buf) - r.pos
			return Event{}, false
		}
		line := r.buf[r.pos : r.pos+r.seen+end]
		r.pos += len(line) + 1
		r.seen = 0
		if ev, ok := r.line(line); ok {
			return ev, true
		}
	}
}

// Flush returns the event that the end of the stream left without its empty
// line, if there is one. Call it once, after Next has returned false.
func (r *EventReader) Flush() (Event, bool) {
	if rest := r.buf[r.pos:]; len(rest) > 0 {
		r.pos, r.seen = len(r.buf), 0
		if ev, ok := r.line(rest); ok {
			return ev, true
		}
	}
	return r.line(nil)
}

// line takes in one line without its \n, and returns the event it completes.
func (r *EventReader) line(line []byte) (Event, bool) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		ev := Event{Name: r.name, Data: r.data}
		if r.one != nil {
			ev.Data = r.one
		}
		ok := r.has
		r.name, r.one, r.has = "", nil, false
		r.data = r.data[len(r.data):] // the caller still reads the event; append writes behind it
		return ev, ok
	}
	field, value, _ := bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(field) {
	case "data":
		switch {
		case !r.has:
			r.one, r.has = value, true
		default:
			r.keep()
			r.data = append(append(r.data, '\n'), value...)
		}
	case "event":
		r.name = string(value)
	}
	return Event{}, false
}
