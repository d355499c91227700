package conversation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"pipeline/internal/digest"
)

// FileName is the artifact that holds conversations, a line each.
const FileName = "conversations.jsonl"

// maxLine bounds a line: longer than any context window, shorter than memory.
const maxLine = 64 << 20

// A LineError is a fault of one line.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Read yields the conversations of r, in order, and ends behind the first
// fault, a *LineError. Empty lines are passed over.
func Read(r io.Reader) iter.Seq2[Conversation, error] {
	return func(yield func(Conversation, error) bool) {
		lines := bufio.NewReaderSize(r, 64<<10)
		ids := make(map[string]int)
		for n := 1; ; n++ {
			line, err := readLine(lines)
			if err == io.EOF {
				return
			}
			if len(bytes.TrimSpace(line)) == 0 && err == nil {
				continue
			}
			var c Conversation
			if err == nil {
				c, err = decode(line)
			}
			if err == nil {
				err = unique(ids, c.ID, n)
			}
			if err != nil {
				yield(Conversation{}, &LineError{n, err})
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// readLine returns the next line without its end, io.EOF behind the last.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("is longer than %d MB", maxLine>>20)
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0, err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
		return nil, err
	}
}

func decode(line []byte) (Conversation, error) {
	var c Conversation
	if !utf8.Valid(line) {
		return c, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return c, errors.New("holds more than one JSON object")
	}
	return c, c.Check()
}

// jsonError names the field where encoding/json does.
func jsonError(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return &FieldError{kind.Field, fmt.Errorf("want a %s, got a JSON %s", kind.Type, kind.Value)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is cut off: its JSON does not end")
	}
	return err
}

func unique(ids map[string]int, id string, n int) error {
	if first := ids[id]; first > 0 {
		return &FieldError{"id", fmt.Errorf("%q is the id of line %d too", id, first)}
	}
	ids[id] = n
	return nil
}

// A Writer writes conversations, a line each, in one spelling.
type Writer struct {
	w     *bufio.Writer
	ids   map[string]int
	tally Tally
}

// NewWriter returns a Writer to w. Flush ends it.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 64<<10), ids: make(map[string]int)}
}

// Write checks and writes one conversation.
func (w *Writer) Write(c Conversation) error {
	err := c.Check()
	if err == nil {
		err = unique(w.ids, c.ID, w.tally.conversations+1)
	}
	if err != nil {
		return fmt.Errorf("conversation %d: %w", w.tally.conversations+1, err)
	}
	line, err := spell(c)
	if err != nil {
		return err
	}
	w.tally.add(c, line)
	_, err = w.w.Write(line)
	return err
}

// Flush hands what was written to the writer below.
func (w *Writer) Flush() error { return w.w.Flush() }

// Summary counts what was written.
func (w *Writer) Summary() Summary { return w.tally.Summary() }

// Digest names what was written: it is the digest of the file.
func (w *Writer) Digest() digest.Digest { return w.tally.Digest() }

// spell is the one spelling of a conversation, its line end included.
func spell(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
