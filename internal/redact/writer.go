package redact

import (
	"bytes"
	"io"
)

// maxLine bounds what a Writer waits for the end of a line with.
const maxLine = 1 << 20

// A Writer passes text on, line by line, each through clean. It is for one
// goroutine at a time.
type Writer struct {
	to    io.Writer
	clean func(string) string
	line  []byte
	err   error
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer, clean func(string) string) *Writer { return &Writer{to: w, clean: clean} }

// Write takes text in. It reports the first error of what is below.
func (w *Writer) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	for w.err == nil {
		i := bytes.IndexByte(w.line, '\n')
		if i < 0 && len(w.line) < maxLine {
			break
		}
		if i < 0 {
			i = len(w.line) - 1
		}
		w.put(i + 1)
	}
	return len(p), w.err
}

// Flush passes on a last line without its end.
func (w *Writer) Flush() error {
	if len(w.line) > 0 && w.err == nil {
		w.put(len(w.line))
	}
	return w.err
}

func (w *Writer) put(n int) {
	_, w.err = io.WriteString(w.to, w.clean(string(w.line[:n])))
	w.line = append(w.line[:0], w.line[n:]...)
}
