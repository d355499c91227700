// Package loadgen puts load on an OpenAI-compatible endpoint and writes down
// what came back, request by request, as perf.Requests.
//
// A run has four parts. Before it, prepare: the limits of this machine are
// checked, the endpoint is probed for what it understands (usage, ignore_eos,
// /tokenize), prompts are fitted to the input length asked, and connections
// are opened. Then the warm-up requests, with prompts of their own. Then the
// measured ones: by Concurrency streams that each send their next request when
// the one before has ended (closed loop), or by a schedule of intended times
// drawn from the seed (open loop). Last, the health of the generator itself is
// summed up, so that a run in which the client was the bottleneck says so.
//
// Times. All offsets are from Result.Start on the monotonic clock. The clock
// is read where the bytes are: in the Read and Write of the connection, before
// any parsing. What arrives in one read has one time; events after the first
// in a read are counted as coalesced.
//
// Words. A part is the warm-up or the measured requests. A conversation is what
// one user says; a job is one ready to be sent. A slot is the memory of one
// stream. An attempt is a request under way. A doubt is a warning that travels
// with the numbers; it begins with a code and a colon.
package loadgen
