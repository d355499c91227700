package dcgm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Dmon is what a dump of `dcgmi dmon` cannot tell by itself.
type Dmon struct {
	// Fields are the ids after -e. With them the columns are known by id;
	// without them by their short names, which some dumps have by hand.
	Fields []Field
	// Delay is -d. It is needed where lines have no stamps.
	Delay time.Duration
	// Start is when the first row was printed, for a dump without stamps.
	Start time.Time
	// GPUs names the GPUs by index.
	GPUs map[int]GPU
}

// A Dump is what was read from one.
type Dump struct {
	Samples Samples
	// Stamped reports that lines began with a time. Else times are counted from
	// Start, or from the zero time if it is not known, and mean nothing.
	Stamped bool
	Rows    int      // of GPUs
	Blank   int      // values N/A or missing: the first rows, and what a MIG instance has not
	Skipped int      // lines that are neither header nor row of a GPU
	Unknown []string // columns that are no known field
}

const (
	maxLine = 1 << 20
	maxRows = 10_000_000
)

var (
	headerRE = regexp.MustCompile(`^\s*#\s*Entity\b`)
	idRE     = regexp.MustCompile(`^\s*I[Dd]\b`)
	rowRE    = regexp.MustCompile(`^\s*(GPU|GPU-I|GPU-CI)\s+(\d+)(\s+LINK\s+\d+)?(\s|$)`)
	// Stamps that a capture puts before each line: unix seconds, milliseconds or
	// nanoseconds, or RFC 3339.
	unixRE = regexp.MustCompile(`^(\d{19}|\d{13}|\d{10}(?:\.\d+)?)[ \t]`)
	timeRE = regexp.MustCompile(`^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))[ \t]`)
)

// ReadDmon reads a dump of `dcgmi dmon`, of DCGM 2 (right-justified) or later
// (left-justified): headers that repeat, entities in any order, first rows
// N/A, values that are left blank, and perhaps a stamp before each line.
func ReadDmon(r io.Reader, o Dmon) (*Dump, error) {
	d := dmonReader{Dmon: o, dump: &Dump{}, seen: map[string]bool{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := d.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("dcgmi dmon: line %d: %w", n, err)
		}
		if d.dump.Rows > maxRows {
			return nil, fmt.Errorf("dcgmi dmon: more than %d rows", maxRows)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("dcgmi dmon: after line %d: %w", n, err)
	}
	if d.columns == nil && n > 0 {
		return nil, errors.New(`dcgmi dmon: no header line "#Entity …"; is this a dump of dcgmi dmon?`)
	}
	return d.dump, nil
}

// A dmonReader is one dump under way.
type dmonReader struct {
	Dmon
	dump      *Dump
	columns   []column
	right     bool // values end under the end of their names
	iteration int
	seen      map[string]bool // entities of this iteration
	stamp     int64           // of the last stamped line, ms
}

type column struct {
	field Field // 0: not known
	from  int   // of its name in the header
	to    int
}

func (d *dmonReader) line(text string) error {
	text, at, stamped := cutStamp(strings.TrimRight(text, "\r\n"))
	switch {
	case strings.TrimSpace(text) == "":
		return nil
	case headerRE.MatchString(text):
		return d.header(text)
	case idRE.MatchString(text) && d.columns != nil:
		return nil
	}
	m := rowRE.FindStringSubmatch(text)
	if m == nil || m[3] != "" || d.columns == nil {
		d.dump.Skipped++
		return nil
	}
	return d.row(text, m, at, stamped)
}

// cutStamp takes a time off the front of a line.
func cutStamp(text string) (rest string, ms int64, ok bool) {
	if m := unixRE.FindStringSubmatch(text); m != nil {
		digits, fraction, _ := strings.Cut(m[1], ".")
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return text, 0, false
		}
		switch len(digits) {
		case 19:
			v /= 1e6
		case 10:
			part, _ := strconv.ParseInt((fraction + "000")[:3], 10, 64) // digits by the expression
			v = v*1000 + part
		}
		return text[len(m[0]):], v, true
	}
	if m := timeRE.FindStringSubmatch(text); m != nil {
		if t, err := time.Parse(time.RFC3339Nano, strings.Replace(m[1], " ", "T", 1)); err == nil {
			return text[len(m[0]):], t.UnixMilli(), true
		}
	}
	return text, 0, false
}

func (d *dmonReader) header(text string) error {
	var columns []column
	d.right = strings.Contains(text, "# Entity")
	at := strings.Index(text, "Entity") + len("Entity")
	var names []string
	for at < len(text) {
		if text[at] == ' ' || text[at] == '\t' {
			at++
			continue
		}
		end := at
		for end < len(text) && text[end] != ' ' && text[end] != '\t' {
			end++
		}
		f, _ := fieldShort(text[at:end])
		columns = append(columns, column{field: f, from: at, to: end})
		names = append(names, text[at:end])
		at = end
	}
	if len(columns) == 0 {
		return errors.New("the header has no columns")
	}
	if d.Fields != nil {
		if len(d.Fields) != len(columns) {
			return fmt.Errorf("the header has %d columns (%s), and %d field ids were given", len(columns), strings.Join(names, ", "), len(d.Fields))
		}
		for i, f := range d.Fields {
			columns[i].field = f
		}
	}
	for i, c := range columns {
		if _, known := c.field.Info(); !known && !slices.Contains(d.dump.Unknown, names[i]) {
			d.dump.Unknown = append(d.dump.Unknown, names[i])
		}
	}
	d.columns = columns
	return nil
}

func (d *dmonReader) row(text string, m []string, at int64, stamped bool) error {
	kind, index := m[1], m[2]
	n, err := strconv.Atoi(index)
	if err != nil {
		return fmt.Errorf("entity %s %s: %w", kind, index, err)
	}
	entity := kind + " " + index
	if d.seen[entity] { // an entity comes once in an iteration
		d.iteration++
		clear(d.seen)
	}
	d.seen[entity] = true
	if d.dump.Rows > 0 && stamped != d.dump.Stamped {
		return errors.New("some lines have a time stamp and some have none")
	}
	d.dump.Rows++
	d.dump.Stamped = stamped
	switch {
	case !stamped && d.Delay > 0:
		at = int64(d.iteration) * d.Delay.Milliseconds()
		if !d.Start.IsZero() {
			at += d.Start.UnixMilli()
		}
	case !stamped:
		at = int64(d.iteration) * 1000
	}
	g := GPU{Index: n}
	if known, ok := d.GPUs[n]; ok && kind == "GPU" {
		g = known
	}
	if kind != "GPU" { // which GPU an instance is on is not printed
		g = GPU{Index: -1, MIG: kind + index}
	}
	for i, value := range d.cut(text, len(m[0])) {
		d.value(d.columns[i].field, g, at, value)
	}
	return nil
}

// cut splits a row into its columns: by words where there are as many as
// columns, else by where the names stand in the header, since a field that an
// entity has not is left blank.
func (d *dmonReader) cut(text string, entity int) []string {
	values := strings.Fields(text[min(entity, len(text)):])
	if len(values) == len(d.columns) {
		return values
	}
	values = make([]string, len(d.columns))
	for i, c := range d.columns {
		from, to := c.from, len(text)
		if i+1 < len(d.columns) {
			to = d.columns[i+1].from
		}
		if d.right {
			from, to = entity, c.to
			if i > 0 {
				from = d.columns[i-1].to
			}
		}
		if from = min(from, len(text)); from < min(to, len(text)) {
			values[i] = strings.TrimSpace(text[from:min(to, len(text))])
		}
	}
	return values
}

func (d *dmonReader) value(f Field, g GPU, at int64, text string) {
	info, known := f.Info()
	if !known {
		return
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || info.blank(v) { // N/A, -, <<<NOT_SUPPORTED>>>, nothing
		d.dump.Blank++
		return
	}
	d.dump.Samples.add(f, g, nil, at, v)
}
