package perf

import (
	"encoding/json"

	"pipeline/internal/digest"
)

// Evidence is what a tool left of a run beside the numbers that a Measurement
// holds: the files it wrote, its own figures, and what nobody here knows how
// to read.
type Evidence struct {
	Artifacts []Artifact                 `json:"artifacts,omitempty"` // every file, by name
	Figures   map[string]Figure          `json:"figures,omitempty"`   // the tool's own summary, in its names and units
	Extra     map[string]json.RawMessage `json:"extra,omitempty"`     // fields that are not known, by file and field, as they stand there
	Missing   []string                   `json:"missing,omitempty"`   // fields that were looked for and are not there
}

// An Artifact is a file that a tool wrote.
type Artifact struct {
	Name   string        `json:"name"`
	Bytes  int64         `json:"bytes"`
	SHA256 digest.Digest `json:"sha256"`
}

// A Figure is one quantity as a tool describes it: by statistics of many
// values, or by one number, its Avg. A statistic that is nil was not told.
type Figure struct {
	Unit  string   `json:"unit"`
	Avg   *float64 `json:"avg,omitempty"`
	Min   *float64 `json:"min,omitempty"`
	P1    *float64 `json:"p1,omitempty"`
	P5    *float64 `json:"p5,omitempty"`
	P10   *float64 `json:"p10,omitempty"`
	P25   *float64 `json:"p25,omitempty"`
	P50   *float64 `json:"p50,omitempty"`
	P75   *float64 `json:"p75,omitempty"`
	P90   *float64 `json:"p90,omitempty"`
	P95   *float64 `json:"p95,omitempty"`
	P99   *float64 `json:"p99,omitempty"`
	Max   *float64 `json:"max,omitempty"`
	Std   *float64 `json:"std,omitempty"`
	Count *float64 `json:"count,omitempty"`
	Sum   *float64 `json:"sum,omitempty"`
}
