package ncu

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of one file.
const (
	maxBytes    = 512 << 20
	maxLaunches = 1_000_000
)

// ErrEmpty says that the text holds no table of ncu.
var ErrEmpty = errors.New(`no table of ncu --csv: want a header that begins with "ID"`)

// Parse reads what ncu --csv printed, with what the program and ncu wrote
// around the table. Launches are in the order of the file.
func Parse(r io.Reader) ([]Launch, error) {
	in := bufio.NewReader(io.LimitReader(r, maxBytes+1))
	if err := skipToHeader(in); err != nil {
		return nil, err
	}
	rows := csv.NewReader(&tableOnly{in: in})
	rows.FieldsPerRecord = -1 // lines of rules have more fields than lines of metrics
	rows.LazyQuotes = true
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("ncu: header: %w", err)
	}
	header = slices.Clone(header)
	t := table{header: header, at: map[string]int{}, index: map[string]int{}}
	for i, name := range header {
		if _, twice := t.at[name]; !twice {
			t.at[name] = i
		}
	}
	if _, ok := t.at["Kernel Name"]; !ok {
		return nil, fmt.Errorf("ncu: the header has no column Kernel Name: %.200q", strings.Join(header, ","))
	}
	if _, long := t.at["Metric Name"]; long {
		err = t.long(rows)
	} else {
		err = t.wide(rows)
	}
	if err != nil {
		return nil, fmt.Errorf("ncu: %w", err)
	}
	for i := range t.launches {
		t.launches[i].finish()
	}
	return t.launches, nil
}

// skipToHeader reads up to the header and leaves it to be read.
func skipToHeader(in *bufio.Reader) error {
	for {
		head, err := in.Peek(5)
		if s := string(head); strings.HasPrefix(s, `"ID",`) || strings.HasPrefix(s, "ID,") {
			return nil
		}
		if len(head) == 0 || err != nil && err != io.EOF {
			return ErrEmpty
		}
		if _, err := in.ReadSlice('\n'); err == io.EOF {
			return ErrEmpty
		} else if err != nil && err != bufio.ErrBufferFull {
			return fmt.Errorf("ncu: %w", err)
		}
	}
}

// tableOnly leaves out the lines that ncu writes among those of the table
// ("==PROF== Disconnected"). No kernel's name begins a line so.
type tableOnly struct {
	in   *bufio.Reader
	rest []byte
}

func (t *tableOnly) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		line, err := t.in.ReadBytes('\n')
		if len(line) == 0 {
			return 0, err
		}
		if !strings.HasPrefix(string(line), "==") {
			t.rest = line
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// A table is the file under way.
type table struct {
	header   []string
	at       map[string]int // column by name
	launches []Launch
	index    map[string]int // of a launch by process and ID
}

func (t *table) field(row []string, name string) string {
	if i, ok := t.at[name]; ok && i < len(row) {
		return strings.TrimSpace(row[i])
	}
	return ""
}

// launch returns the launch of a line, which in the long form is of the line
// before if it names none.
func (t *table) launch(row []string) (*Launch, error) {
	id := t.field(row, "ID")
	if id == "" {
		if len(t.launches) == 0 {
			return nil, errors.New("the first line names no ID")
		}
		return &t.launches[len(t.launches)-1], nil
	}
	key := t.field(row, "Process ID") + " " + t.field(row, "Host Name") + " " + id
	i, ok := t.index[key]
	if !ok {
		if len(t.launches) == maxLaunches {
			return nil, fmt.Errorf("more than %d launches", maxLaunches)
		}
		i = len(t.launches)
		t.index[key] = i
		t.launches = append(t.launches, Launch{ID: id, Kernel: kernelName(t.field(row, "Kernel Name")), Device: t.field(row, "Device"), CC: t.field(row, "CC")})
	}
	return &t.launches[i], nil
}

// each calls f for the lines of the table.
func each(rows *csv.Reader, f func(row []string) error) error {
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(row) == 1 && strings.TrimSpace(row[0]) == "" {
			continue
		}
		if err := f(row); err != nil {
			line, _ := rows.FieldPos(0)
			return fmt.Errorf("line %d of the table: %w", line, err)
		}
	}
}

// long reads a line a metric. Lines of rules name no metric.
func (t *table) long(rows *csv.Reader) error {
	return each(rows, func(row []string) error {
		l, err := t.launch(row)
		if err != nil {
			return err
		}
		return l.take(t.field(row, "Metric Name"), t.field(row, "Metric Unit"), t.field(row, "Metric Value"))
	})
}

// wide reads a line a launch. The first line holds the units.
func (t *table) wide(rows *csv.Reader) error {
	var units []string
	return each(rows, func(row []string) error {
		if units == nil {
			if t.field(row, "ID") != "" || t.field(row, "Kernel Name") != "" {
				return errors.New("the second line holds no units: print the raw page with ncu --csv --page raw")
			}
			units = slices.Clone(row)
			return nil
		}
		l, err := t.launch(row)
		if err != nil {
			return err
		}
		for i, name := range t.header {
			if i < len(row) && i < len(units) {
				if err := l.take(name, units[i], strings.TrimSpace(row[i])); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
