package perf

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"pipeline/internal/digest"
)

// A CellMeasurement is one of several measurements in one artifact, a line
// each: {"cell": {axis: value}, "measurement": …}.
type CellMeasurement struct {
	Cell        []Coord
	Measurement *Measurement
	Digest      digest.Digest // of the measurement's text
}

type cellLine struct {
	Cell        map[string]string `json:"cell"`
	Measurement json.RawMessage   `json:"measurement"`
}

// WriteCell writes the line of a cell.
func WriteCell(w io.Writer, cell []Coord, m *Measurement) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	line := cellLine{Cell: map[string]string{}, Measurement: text}
	for _, c := range cell {
		line.Cell[c.Axis] = c.Value
	}
	if text, err = json.Marshal(line); err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadCells reads what WriteCell wrote, at least one line. The error names the
// line.
func ReadCells(r io.Reader) ([]CellMeasurement, error) {
	var out []CellMeasurement
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("line %d is cut off: %w", n, err)
		}
		var line cellLine
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, plainJSONError(err))
		}
		m, err := ReadMeasurement(line.Measurement)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		c := CellMeasurement{Measurement: m, Digest: digest.Of(line.Measurement)}
		for _, axis := range slices.Sorted(maps.Keys(line.Cell)) {
			c.Cell = append(c.Cell, Coord{axis, line.Cell[axis]})
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("it has no line")
	}
	return out, nil
}
