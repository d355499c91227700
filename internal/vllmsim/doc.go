// Package vllmsim is a vLLM server without a GPU: it speaks vLLM's HTTP API,
// schedules as vLLM does, and takes for each step the time that the named GPU
// would need at best, divided by an efficiency. Curves measured against it
// bend where hardware would bend them; its numbers are simulated, and every
// response, /version and /metrics say so.
//
// The story of a request:
//
//	handler    parses it, makes token ids of its prompt (tokenizer.go), and
//	           puts a sequence into the engine's inbox
//	engine     one goroutine; step after step it asks the scheduler for a
//	           batch, prices the batch with internal/sol, sleeps until the
//	           step is due, and hands each sequence its token (engine.go)
//	scheduler  continuous batching, chunked prefill, preemption by recompute
//	           (scheduler.go), over a block pool with a prefix cache (kvcache.go)
//	writer     one goroutine for all healthy streams: builds the SSE bytes of
//	           what is pending of one, writes once and flushes once, and goes
//	           on to the next (writer.go, stream.go)
//
// Steps keep an absolute schedule: a step starts when the one before was due,
// not when the sleep for it returned. Time is injected into the scheduler and
// the pricing, so their tests run on virtual time and are exact.
//
// What is left out: sampling parameters change nothing (each prompt has one
// answer, drawn from Seed), n is 1, there are no log-probabilities, images,
// LoRA, speculation or pipeline parallelism. A natural end of text has no EOS
// token: the last visible token carries finish_reason "stop".
package vllmsim
