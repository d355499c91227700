// Package roofline holds roofline sweeps: what they are made of, and what they
// answer.
//
// A Bundle is a folder, or a tar of one, that a sweep of one deployment leaves
// behind: a manifest with the digest of every file, and a folder a cell with
// the result of the benchmark as its tool wrote it, the records of requests,
// the lines of dcgmi dmon with their times, and the server's metrics from
// before and after (manifest.go, bundle.go, write.go, pack.go). A decode cell
// has many output tokens at some concurrency; a prefill cell has one, at some
// input length.
//
// A Sweep is roofline.json: the bundle read, judged, and set beside what the
// model must compute and move (sweep.go, analysis.go). FLOPs are counted from
// the model's shape and never from tensor activity, which cannot be turned into
// operations where number formats are mixed.
//
// Three questions are answered from the points of sweeps: at which concurrency
// the model's FLOP/s are highest (peak.go), whether decode reaches 75 % of the
// memory bandwidth (hbm.go), and which candidate serves best at an equal speed
// of a user (sharding.go). An answer that the data do not give says so.
package roofline
