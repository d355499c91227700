package transcript

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/parquet-go/parquet-go"
	_ "github.com/parquet-go/parquet-go/compress/snappy" // the codecs that the hub's files have
	_ "github.com/parquet-go/parquet-go/compress/zstd"
)

// A row is one record of a file: nil, bool, numbers, string, []any or row.
type row = map[string]any

// jsonRows yields the objects of a JSON array, or of lines.
func jsonRows(path string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		in := &position{r: bufio.NewReaderSize(f, 256<<10), line: 1}
		first, err := in.skipSpace()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		dec := json.NewDecoder(in)
		dec.UseNumber()
		array := first == '['
		if array {
			_, err = dec.Token()
		}
		for err == nil && (!array || dec.More()) {
			var one row
			if err = dec.Decode(&one); err != nil {
				break
			}
			if one == nil {
				err = errNull
				break
			}
			if !yield(one, nil) {
				return
			}
		}
		if err == nil && array {
			_, err = dec.Token() // its end
		}
		if err != nil && (err != io.EOF || array) {
			yield(nil, in.explain(err))
		}
	}
}

var errNull = errors.New("holds null where an object should be")

// A position counts lines, for messages.
type position struct {
	r    *bufio.Reader
	line int
}

func (p *position) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.line += bytes.Count(b[:n], []byte("\n"))
	return n, err
}

// skipSpace passes over a byte order mark and white space, and returns the
// byte that comes next.
func (p *position) skipSpace() (byte, error) {
	if mark, err := p.r.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		if _, err := p.r.Discard(3); err != nil {
			return 0, err
		}
	}
	for {
		b, err := p.r.Peek(1)
		if err != nil {
			return 0, err
		}
		if b[0] != ' ' && b[0] != '\t' && b[0] != '\n' && b[0] != '\r' {
			return b[0], nil
		}
		if b[0] == '\n' {
			p.line++
		}
		if _, err := p.r.Discard(1); err != nil {
			return 0, err
		}
	}
}

func (p *position) explain(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, errNull):
		return err
	case errors.As(err, &kind):
		return fmt.Errorf("holds a JSON %s where an object should be", kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is cut off: its JSON does not end")
	}
	return fmt.Errorf("up to line %d: %w", p.line, err)
}

// parquetRows yields the rows of a Parquet file.
func parquetRows(path string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		size, err := f.Seek(0, io.SeekEnd)
		if err == nil {
			err = readParquet(f, size, func(r row) bool { return yield(r, nil) })
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// readParquet gives the rows to each until it returns false. The library
// panics on some files that are damaged.
func readParquet(f io.ReaderAt, size int64, each func(row) bool) error {
	var reader *parquet.GenericReader[any]
	err := guard(func() error {
		file, err := parquet.OpenFile(f, size)
		if err == nil {
			reader = parquet.NewGenericReader[any](file)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("is no Parquet file, or a damaged one: %w", err)
	}
	defer func() { _ = guard(reader.Close) }() // nothing was written
	batch := make([]any, 16)
	for {
		var n int
		err := guard(func() (err error) {
			n, err = reader.Read(batch)
			return err
		})
		for _, v := range batch[:n] {
			one, ok := v.(row)
			if !ok {
				return fmt.Errorf("has rows that are a %T", v)
			}
			if !each(one) {
				return nil
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("is a damaged Parquet file: %w", err)
		}
		clear(batch)
	}
}

// guard turns a panic of f into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return f()
}
