package dcgm

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// CaptureSchema names the shape of a Capture.
const CaptureSchema = "dcgm-samples/v1"

// CaptureFile is the name of the artifact that holds one.
const CaptureFile = "dcgm-samples.json"

// A Capture is what was scraped from exporters under a load: samples of all
// GPUs that they show, to be frozen for a cell later.
type Capture struct {
	Schema   string            `json:"schema"`
	Source   Source            `json:"source"`
	Versions map[string]string `json:"versions,omitempty"`
	Lost     int               `json:"lost_scrapes"`
	GPUs     []GPU             `json:"gpus"`
	Lines    []seriesLine      `json:"series"`
}

// NewCapture packs samples.
func NewCapture(source Source, samples *Samples, lost int) *Capture {
	c := &Capture{Schema: CaptureSchema, Source: source, Versions: samples.Versions(), Lost: lost, GPUs: samples.GPUs()}
	for _, s := range samples.Series() {
		c.Lines = append(c.Lines, pack(s))
	}
	return c
}

// JSON writes the capture.
func (c *Capture) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("write %s: %w", CaptureFile, err)
	}
	return b.Bytes(), nil
}

// ReadCapture reads what JSON wrote.
func ReadCapture(text []byte) (*Capture, *Samples, error) {
	var c Capture
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", CaptureFile, err)
	}
	if c.Schema != CaptureSchema {
		return nil, nil, fmt.Errorf("read %s: the schema is %.40q, want %q", CaptureFile, c.Schema, CaptureSchema)
	}
	samples, err := unpack(c.Lines, c.GPUs)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", CaptureFile, err)
	}
	return &c, samples, nil
}
