// Package foreign reads what other benchmark tools wrote, and brings it to our
// units and definitions.
//
//	found, err := foreign.Scan(path)      // what is there, and in which format
//	cells, err := found.Sources[0].Read() // a perf.Report for each run in it
//
// A source is a file, or a folder that belongs together. A file is known by
// what it holds, never by its name. One file of a format reads it; a table in
// it says how each quantity is named there, in which unit, and what is
// different about it: the table is what the reader works by, what the docs
// show, and where the doubts about a number come from.
//
// What a report does not tell stays absent, and zeros that stand for nothing
// do not become numbers: see perf.Report.
package foreign
