// Package lake is the perf lake: what campaigns published, as Parquet files
// that any engine can read and that never change.
//
//	<dir>/atlas_v1/campaign=<id>/<digest>.parquet     a row a cell
//	<dir>/campaign_v1/campaign=<id>/<digest>.parquet  a row a publication
//	<dir>/<table>/campaign=<id>/_current.json         which of the files counts, and what its rows were made from
//
// A file is named by the digest of what its rows say, so publishing the same
// rows again changes nothing. Publishing other rows adds a file, a revision,
// and points _current.json to it; the older file stays. Files are written
// whole under another name, synced, and renamed, so a reader never sees part
// of one, and there is no database file to lock: any number of processes may
// publish and query at once.
//
// Reading: the views atlas_v1 and campaign_v1 of Query hold the current
// revisions, atlas_v1_all and campaign_v1_all all of them, with the columns
// revision and current. Another Parquet engine that reads
// <dir>/atlas_v1/*/*.parquet sees all revisions; _current.json names the file
// to keep (engines skip names that begin with an underscore).
//
// DuckDB writes and reads the files. It is opened, in memory, by what needs it
// and by nothing else. Only driver.go knows which Go binding that is.
package lake
