package dcgm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// frozenOrder is the order of keys in the file, as people read them.
var frozenOrder = []string{
	"schema", "campaign", "cell_id", "measurement_sha256", "captured_at", "captured_by", "simulated", "source", "versions",
	"window", "selected_by", "gpus", "neighbours", "workload", "queries", "missing", "series_sha256",
}

// yaml writes the document: a key a line, lists with an element a line. Values
// are in the flow style, which is JSON.
func (f *Frozen) yaml(series [][]byte) ([]byte, error) {
	head := *f
	head.Lines = nil
	whole, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", FrozenFile, err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(whole, &parts); err != nil {
		return nil, fmt.Errorf("write %s: %w", FrozenFile, err)
	}
	var b bytes.Buffer
	for _, key := range frozenOrder {
		part, ok := parts[key]
		if !ok {
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(part, &list) != nil || len(list) == 0 {
			fmt.Fprintf(&b, "%s: %s\n", key, flow(part))
			continue
		}
		fmt.Fprintf(&b, "%s:\n", key)
		for _, e := range list {
			fmt.Fprintf(&b, "  - %s\n", flow(e))
		}
	}
	if len(series) > 0 {
		fmt.Fprintln(&b, "series:")
	}
	for _, line := range series {
		fmt.Fprintf(&b, "  - %s\n", flow(line))
	}
	return b.Bytes(), nil
}

// flow puts a space after the commas and colons of JSON outside of texts,
// which YAML wants after a colon and people after a comma.
func flow(text []byte) []byte {
	var out []byte
	quoted := false
	for i, c := range text {
		out = append(out, c)
		switch {
		case c == '"' && !escaped(text, i):
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}

func escaped(text []byte, i int) bool {
	n := 0
	for i--; i >= 0 && text[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

func encodeLines(lines []seriesLine) ([][]byte, error) {
	out := make([][]byte, len(lines))
	for i, l := range lines {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(l); err != nil {
			return nil, fmt.Errorf("write the series %s: %w", l.Field, err)
		}
		out[i] = bytes.TrimSpace(b.Bytes())
	}
	return out, nil
}

func decodeLines(text []byte) ([]seriesLine, error) {
	var out []seriesLine
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxSeries)
	for lines.Scan() {
		var l seriesLine
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", SeriesFile, len(out)+1, err)
		}
		out = append(out, l)
	}
	return slices.Clip(out), lines.Err()
}
