// Package stat holds the statistics of repeated measurements: Student's t,
// Welch's test of a ratio, the exact rank-sum test, Holm's correction, the
// outlier rule, and what tells whether a series is steady (MSER-5 and
// changepoints).
//
// The unit of replication is the trial, never the request: the requests of one
// run share its clocks, its neighbours and its luck. So samples here are small,
// and everything is exact where it can be.
//
// docs/verdict.md says which rule uses what, and from whom each formula is.
package stat
