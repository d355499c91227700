package conversation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"pipeline/internal/digest"
)

// DatasetFile is the artifact that says what is known about a data set.
const DatasetFile = "dataset.json"

// DatasetSchema names the shape of a Dataset.
const DatasetSchema = "dataset/v1"

// A Dataset is what is known about a file of conversations: dataset.json.
type Dataset struct {
	Schema    string        `json:"schema"`              // DatasetSchema
	Name      string        `json:"name"`                // huggingface id, file name, or synthetic-agentic
	Source    string        `json:"source"`              // where it is from: huggingface, replay-playback, file or synthetic-agentic
	Revision  string        `json:"revision,omitempty"`  // commit of a hub's data set
	Converted string        `json:"converted,omitempty"` // commit of the hub's own conversion, if that was read
	Config    string        `json:"config,omitempty"`    // of a hub's data set
	Split     string        `json:"split,omitempty"`
	License   string        `json:"license,omitempty"` // as the source states it
	Seed      *int64        `json:"seed,omitempty"`    // that sampled it; nil is in the order of the source
	Tokens    string        `json:"tokens"`            // what counted isl and osl
	Digest    digest.Digest `json:"digest"`            // of conversations.jsonl
	Summary   Summary       `json:"summary"`
	Dropped   []Drop        `json:"dropped,omitempty"` // what of the source is not in it
	Files     []SourceFile  `json:"files,omitempty"`   // what it was read from
}

// A Drop counts what was left out of a data set, or changed, for one reason.
type Drop struct {
	Count int    `json:"count"`
	Why   string `json:"why"`
}

// A SourceFile is a file that a data set was read from.
type SourceFile struct {
	Name   string        `json:"name"`
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// ParseDataset reads a dataset.json.
func ParseDataset(text []byte) (Dataset, error) {
	var d Dataset
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("read %s: %w", DatasetFile, err)
	}
	switch {
	case d.Schema != DatasetSchema:
		return d, fmt.Errorf("read %s: schema %q, want %q", DatasetFile, d.Schema, DatasetSchema)
	case d.Digest.IsZero():
		return d, fmt.Errorf("read %s: digest: is missing", DatasetFile)
	}
	return d, nil
}

// Write writes a dataset.json.
func (d Dataset) Write(w io.Writer) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}
