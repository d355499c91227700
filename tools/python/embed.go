// Package python holds the lists of Python packages that pipeline installs:
// each whole and pinned, so that pip resolves nothing. Tests install from the
// same files.
package python

import _ "embed"

// AIPerf is the list for AIPerf.
//
//go:embed aiperf.txt
var AIPerf string
