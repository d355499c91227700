package perf

import "iter"

// A Stream gives the requests of a run in one order, each time it is called:
// from memory, or out of a file that is too long for it. A request, with all
// that it points to, is valid until the next one comes. The times of chunks
// may be left out where chunks is false, which a file can do much faster.
// After an error nothing more comes.
type Stream func(chunks bool) iter.Seq2[*Request, error]

// Slice is the stream of requests in memory.
func Slice(requests []Request) Stream {
	return func(bool) iter.Seq2[*Request, error] {
		return func(yield func(*Request, error) bool) {
			for i := range requests {
				if !yield(&requests[i], nil) {
					return
				}
			}
		}
	}
}
