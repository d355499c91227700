// Package hf reads data sets from the Hugging Face Hub, or from a mirror that
// speaks as it does.
//
//	client.Open(ctx, id, revision)   checks access, turns a branch into a commit, lists the files
//	snapshot.Pick(config, split)     the Parquet files of one split
//	snapshot.Fetch(ctx, file, dir)   one of them, into a folder that outlives the run
//
// A commit never changes, so a file is known by its digest before it is
// fetched: what was fetched once is not fetched again, what was broken off is
// continued, and what arrives with another digest is thrown away.
//
// What the hub refuses becomes an *Error: one sentence that says what is wrong
// (no token, a token that is not valid, one without access to a gated data
// set, a wrong id, revision, config or split) and what to do about it. The
// hub's answers are easily taken for something else: it says 401 of what is
// not there when nobody is logged in, and shows the page of a gated data set
// to everyone. So access is asked about first, by its own route.
//
// The token goes to the hub and to nobody else. Files lie on other hosts, to
// which the hub redirects with links that are signed already.
package hf
