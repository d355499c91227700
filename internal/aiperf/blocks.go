package aiperf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"sync"
)

// What is read at once, and the longest line. A request of a hundred thousand
// chunks has a line of two megabytes.
const (
	blockSize = 1 << 20
	maxLine   = 64 << 20
)

// A block is whole lines of a file.
type block struct {
	text   []byte
	line   int // number of the first line, from 1
	record int // number of the first line that is not blank, from 0
	count  int // lines that are not blank
}

// blocks cuts a file into whole lines. give gets each block in order; it owns
// the text until it gives it back to the pool.
func blocks(path string, pool chan []byte, give func(block) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the records of AIPerf: %w", err)
	}
	defer file.Close()
	var rest []byte // of the last line that the block before began
	line, record := 1, 0
	for {
		var buffer []byte
		select {
		case buffer = <-pool:
		default:
			buffer = make([]byte, blockSize)
		}
		n := copy(buffer, rest)
		if n < len(rest) || n > len(buffer)/2 {
			buffer = append(append(make([]byte, 0, 2*len(rest)+blockSize), rest...), make([]byte, len(rest)+blockSize)...)
			n = len(rest)
		}
		got, err := io.ReadFull(file, buffer[n:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("read the records of AIPerf: %w", err)
		}
		text := buffer[:n+got]
		cut := len(text)
		if !last {
			cut = bytes.LastIndexByte(text, '\n') + 1
		}
		if len(text)-cut > maxLine {
			return fmt.Errorf("line %d: it is longer than %d MB", line+bytes.Count(text[:cut], []byte{'\n'}), maxLine>>20)
		}
		rest = append(rest[:0], text[cut:]...)
		if b := (block{text: text[:cut], line: line, record: record, count: records(text[:cut])}); cut > 0 {
			line += bytes.Count(b.text, []byte{'\n'})
			record += b.count
			if !give(b) {
				return nil
			}
		}
		if last {
			return nil
		}
	}
}

// records counts the lines that are not blank.
func records(text []byte) int {
	n := 0
	for range lines(text) {
		n++
	}
	return n
}

// lines yields the lines that are not blank, with their numbers from 0.
func lines(text []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for n := 0; len(text) > 0; n++ {
			line := text
			if end := bytes.IndexByte(text, '\n'); end >= 0 {
				line, text = text[:end], text[end+1:]
			} else {
				text = nil
			}
			if line = bytes.TrimRight(line, "\r \t"); len(line) > 0 && !yield(n, line) {
				return
			}
		}
	}
}

// inOrder works on the blocks of a file, several at a time, and yields what
// work gives in the order of the file. After an error nothing comes.
func inOrder[T any](path string, work func(worker int, b block) (T, error)) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
	}
	type job struct {
		block
		done chan result
	}
	return func(yield func(T, error) bool) {
		workers := max(1, min(runtime.GOMAXPROCS(0), 8))
		pool := make(chan []byte, 3*workers)
		jobs, order := make(chan job, workers), make(chan job, 2*workers)
		stop := make(chan struct{})
		var busy sync.WaitGroup
		defer busy.Wait()
		defer close(stop)
		var failed error
		busy.Go(func() {
			defer close(order)
			defer close(jobs)
			failed = blocks(path, pool, func(b block) bool {
				j := job{b, make(chan result, 1)}
				for _, to := range []chan job{order, jobs} {
					select {
					case to <- j:
					case <-stop:
						return false
					}
				}
				return true
			})
		})
		for w := range workers {
			busy.Go(func() {
				for j := range jobs {
					value, err := work(w, j.block)
					select {
					case pool <- j.text[:cap(j.text)]:
					default:
					}
					j.done <- result{value, err}
				}
			})
		}
		for j := range order {
			r := <-j.done
			if !yield(r.value, r.err) || r.err != nil {
				return
			}
		}
		if failed != nil {
			var zero T
			yield(zero, failed)
		}
	}
}
