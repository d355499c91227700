// Package aiperf reads what NVIDIA AIPerf writes, of any version that has been
// seen (0.1 to 0.13), and gives it in the words of package perf.
//
//	run, err := aiperf.Read(folder)
//	m, err := run.Measurement(asked, setting)
//
// A run is a folder of artifacts. The records (profile_export.jsonl, one line
// a request) are what counts: they are read in a stream, first without and
// then with the times of chunks, and judged as the requests of any driver are.
// AIPerf's own summary is held against them, and stands alone only where there
// are no records.
//
// Definitions, as they are brought to ours:
//
//	inter_token_latency   our TPOT: (latency - TTFT)/(OSL - 1), a value a request
//	inter_chunk_latency   our ITL: the gaps between chunks with content
//	time_to_first_token   our TTFT: to the first chunk with content
//	request_latency       our E2E: to the last chunk with content
//	credit_issued_ns      our intended time: when the schedule wanted it sent
//	std                   of a population; ours is of a sample
//
// Tokens are the server's count (usage_*) where a record has it. AIPerf counts
// with its own tokenizer unless it is told otherwise, and may then differ from
// the server by a factor of two.
//
// A field that this package does not know is kept in perf.Evidence, one that
// it misses is named there. A file that is cut off, empty, of another run or
// no artifact of AIPerf gives an error that names the file, the line and the
// field.
package aiperf
