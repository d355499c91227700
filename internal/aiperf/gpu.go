package aiperf

import "os"

// Telemetry returns the path of the samples of GPUs, "" where there is none.
// Package dcgm reads them.
func (r *Run) Telemetry() string {
	if !r.folder.hasLines(gpuLines) {
		return ""
	}
	return r.folder.path(gpuLines)
}

// hasLines reports whether a file is there and not empty: AIPerf makes an empty
// one where no GPU could be asked.
func (f *folder) hasLines(artifact string) bool {
	if !f.has(artifact) {
		return false
	}
	info, err := os.Stat(f.path(artifact))
	return err == nil && info.Size() > 0
}
