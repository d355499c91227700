package aiperf

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// readCSV reads a summary of which only the CSV is left: metrics by their
// printed names, with two decimals.
func readCSV(f *folder) (*Summary, error) {
	text, err := readSmall(f.path(summaryCSV), maxSummary)
	if err != nil {
		return nil, err
	}
	s, err := parseCSV(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.files[summaryCSV], err)
	}
	return s, nil
}

// parseCSV reads "Metric,avg,min,…" rows, then "Metric,Value" rows, and leaves
// out the GPUs that may follow.
func parseCSV(text []byte) (*Summary, error) {
	s := &Summary{Metrics: map[string]perf.Figure{}, decimal: true}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	var columns []string
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		switch {
		case fields[0] == "Metric":
			columns = fields
			continue
		case columns == nil:
			return nil, fmt.Errorf("line %d: the header Metric,… is wanted, not %.40q", line, fields[0])
		case fields[0] == "Endpoint":
			columns = nil
		}
		if columns == nil {
			break
		}
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("line %d: %d columns, and the header has %d: the file is cut off", line, len(fields), len(columns))
		}
		if err := s.row(columns, fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if len(s.Metrics) == 0 {
		return nil, errors.New("no metric is in it")
	}
	return s, nil
}

func (s *Summary) row(columns, fields []string) error {
	name, unit := printedName(fields[0])
	figure := perf.Figure{Unit: unit}
	for i, column := range columns {
		to := statistic(&figure, column)
		if to == nil || fields[i] == "" || fields[i] == "N/A" {
			continue
		}
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return fmt.Errorf("field %s, column %s: %.40q is no number", fields[0], column, fields[i])
		}
		*to = &v
	}
	s.Metrics[name] = figure
	return nil
}

func statistic(f *perf.Figure, column string) **float64 {
	switch column {
	case "avg", "Value":
		return &f.Avg
	case "min":
		return &f.Min
	case "max":
		return &f.Max
	case "sum":
		return &f.Sum
	case "p1":
		return &f.P1
	case "p5":
		return &f.P5
	case "p10":
		return &f.P10
	case "p25":
		return &f.P25
	case "p50":
		return &f.P50
	case "p75":
		return &f.P75
	case "p90":
		return &f.P90
	case "p95":
		return &f.P95
	case "p99":
		return &f.P99
	case "std":
		return &f.Std
	}
	return nil
}

// printedName turns "Time to First Token (ms)" into time_to_first_token and ms.
func printedName(printed string) (tag, unit string) {
	header := printed
	if open := strings.LastIndex(printed, " ("); open > 0 && strings.HasSuffix(printed, ")") {
		header, unit = printed[:open], printed[open+2:len(printed)-1]
	}
	switch header {
	case "Total Input Sequence Length":
		return "total_isl", unit
	case "Total Output Sequence Length":
		return "total_osl", unit
	case "Request Count", "Error Request Count", "Good Request Count":
		unit = "requests"
	}
	return strings.ReplaceAll(strings.ToLower(header), " ", "_"), unit
}
