// Package prom reads what an inference server says of itself at /metrics, in
// Prometheus text, and makes the Server part of a measurement of it.
//
// Parse turns one scrape into a Snapshot: plain samples by name. A Run takes
// the snapshots of one measurement in the order of time, first the one before
// the load, last the one after it, and keeps of each field no more than its
// figures need. A counter is a difference between the first and the last
// snapshot; a counter that went back is missing, for the server was restarted. A gauge
// is the mean and the maximum over the snapshots between.
//
// Names of vLLM's metrics changed over its versions, so that each field has a
// list of candidates; the first that the server has answers, and the Server
// says which it was. What none answered for is listed as missing: it is never
// a zero.
//
// A Store asks a Prometheus server for what it has scraped before.
package prom
