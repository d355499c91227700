// Package conversation owns the line of conversations.jsonl: what one user
// says, turn after turn, and what was answered when it was recorded.
//
//	{"id":"c1","system":"…","turns":[{"user":"…","assistant":"…","isl":812,"osl":96}, …]}
//
// A turn is one request. Its prompt is the system message, all turns before it
// with their answers, and what the user says now; isl counts the tokens of all
// of that, osl those of the recorded answer. Both are 0 where nobody counted.
//
// Read and Writer stream, so that a data set need not fit into memory, and
// check every line: an error names its line and field. A Tally counts what
// passes and gives the digest of the content, which is the same however the
// lines were spelled. A Dataset is what is known about a file of such lines:
// dataset.json, which lies beside it.
//
// The load generators read other formats. AIPerf and WriteVLLMBench write
// those; the native one takes conversations as they are.
package conversation
