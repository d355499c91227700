// Package endpoint says what an inference endpoint is.
//
// An Identity is what measurements of an endpoint depend on and what survives
// a restart: engine and version, model and revision, parallelism, quantisation,
// server arguments, GPUs. Address, port and process are not in it, so that the
// same server on another port is the same endpoint. Each value says how it was
// learned; what could not be learned is listed as unknown and becomes a doubt
// of whatever is measured.
//
// Probe asks the endpoint itself, by what it offers: /v1/models, /version,
// /metrics, and /server_info of a vLLM in development mode. Other servers
// offer less, which gives unknowns and no error. Declare adds what a spec
// says of the endpoint; where the two differ, that is a Mismatch.
//
// RootCause finds in the log of a server the line that says why it died.
package endpoint
