package zymtrace

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/profile"
)

// Forms of text.
const (
	Auto   = "auto"
	Table  = "table"  // CSV or TSV with a header
	Folded = "folded" // a;b;kernel 123
)

// A Reading is what a text holds.
type Reading struct {
	Unit    string // profile.Samples or profile.Nanoseconds
	Entries []profile.Entry
	Doubts  []string
}

// Empty reports whether the text holds no sample.
func (r Reading) Empty() bool { return r.Total() == 0 }

// Total is the sum of all amounts.
func (r Reading) Total() float64 {
	sum := 0.0
	for _, e := range r.Entries {
		sum += e.Amount
	}
	return sum
}

const (
	maxBytes   = 256 << 20
	maxEntries = 5_000_000
)

// Parse reads a text in a form. A text without a line, or a table with its
// header alone, is an empty Reading and no error.
func Parse(form string, text []byte, c *profile.Classifier) (Reading, error) {
	if len(text) > maxBytes {
		return Reading{}, fmt.Errorf("the text is longer than %d MB", maxBytes>>20)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if form == Auto || form == "" {
		form = guess(text)
	}
	switch form {
	case Table:
		return parseTable(text)
	case Folded:
		return parseFolded(text, c)
	}
	return Reading{}, fmt.Errorf("the form %q is not one of auto, table and folded", form)
}

// guess tells the forms apart by the first line that says something: only a
// stack ends in a space and a count, and only folded stacks have remarks.
func guess(text []byte) string {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if _, _, ok := cutCount(string(line)); ok || line[0] == '#' {
			return Folded
		}
		return Table
	}
	return Table
}

// The columns that a table may have, in lower case.
var (
	kernelColumns   = []string{"kernel", "kernel_name", "gpu_frame", "name", "function"}
	categoryColumns = []string{"category", "kernel_class", "class"}
	sampleColumns   = []string{"samples", "sample_count", "count"}
	timeColumns     = []string{"time_ns", "total time (ns)", "total_time_ns", "duration_ns"}
	gpuColumns      = []string{"gpu_uuid", "uuid", "gpu_name", "gpu"}
)

func parseTable(text []byte) (Reading, error) {
	rows := csv.NewReader(bytes.NewReader(text))
	rows.Comma = separator(text)
	rows.LazyQuotes = true
	rows.FieldsPerRecord = -1
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return Reading{Unit: profile.Samples}, nil
	}
	if err != nil {
		return Reading{}, fmt.Errorf("header: %w", err)
	}
	find := func(names []string) int {
		for _, name := range names {
			if i := slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), name) }); i >= 0 {
				return i
			}
		}
		return -1
	}
	kernel, category, gpu := find(kernelColumns), find(categoryColumns), find(gpuColumns)
	r, amount := Reading{Unit: profile.Nanoseconds}, find(timeColumns)
	if amount < 0 {
		r.Unit, amount = profile.Samples, find(sampleColumns)
	}
	if amount < 0 || kernel < 0 && category < 0 {
		return Reading{}, fmt.Errorf("the header %.120q has no column of names (one of %s) or none of amounts (one of %s)", strings.Join(header, " | "),
			strings.Join(slices.Concat(kernelColumns, categoryColumns), ", "), strings.Join(slices.Concat(sampleColumns, timeColumns), ", "))
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return Reading{}, err
		}
		line, _ := rows.FieldPos(0)
		e, err := entryOf(row, kernel, category, gpu, amount)
		if err != nil {
			return Reading{}, fmt.Errorf("line %d: %w", line, err)
		}
		if len(r.Entries) == maxEntries {
			return Reading{}, fmt.Errorf("more than %d lines", maxEntries)
		}
		r.Entries = append(r.Entries, e)
	}
}

func entryOf(row []string, kernel, category, gpu, amount int) (profile.Entry, error) {
	field := func(i int) string {
		if i < 0 || i >= len(row) {
			return ""
		}
		return strings.TrimSpace(row[i])
	}
	v, err := strconv.ParseFloat(field(amount), 64)
	if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return profile.Entry{}, fmt.Errorf("%q is no amount of samples or nanoseconds", field(amount))
	}
	return profile.Entry{Kernel: field(kernel), Category: field(category), GPU: field(gpu), Amount: v}, nil
}

func separator(text []byte) rune {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if bytes.Count(first, []byte("\t")) > 0 {
		return '\t'
	}
	return ','
}
