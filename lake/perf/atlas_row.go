package perf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
)

// A Row is one row of a table of the lake. A column that was not set is NULL:
// not measured. The zero Row has no schema; use NewRow.
type Row struct {
	schema *Schema
	values []any // string, int64, float64, bool, time.Time, []string, or a jsonText; nil is NULL
}

type jsonText string // canonical

// NewRow returns a row of the schema with all columns NULL.
func NewRow(s *Schema) Row { return Row{schema: s, values: make([]any, len(s.Columns))} }

// Schema returns the schema of the row.
func (r Row) Schema() *Schema { return r.schema }

// at returns the place of a column and panics, since it is a fault of the
// program, on one that the schema has not or has with another type.
func (r Row) at(name string, want ...ColumnType) int {
	i, ok := r.schema.index[name]
	if !ok {
		panic(fmt.Sprintf("perf: %s has no column %s", r.schema.Name, name))
	}
	if len(want) > 0 && !slices.Contains(want, r.schema.Columns[i].Type) {
		panic(fmt.Sprintf("perf: column %s of %s is %s, not %s", name, r.schema.Name, r.schema.Columns[i].Type, want[0]))
	}
	return i
}

// SetText sets a VARCHAR column; "" is NULL.
func (r Row) SetText(name, v string) {
	i := r.at(name, Varchar)
	if r.values[i] = nil; v != "" {
		r.values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
}

// SetInt sets a BIGINT column.
func (r Row) SetInt(name string, v int64) { r.values[r.at(name, Bigint)] = v }

// SetFloat sets a DOUBLE column. NaN and infinities are no measurement: NULL.
func (r Row) SetFloat(name string, v float64) {
	i := r.at(name, Double)
	if r.values[i] = nil; !math.IsNaN(v) && !math.IsInf(v, 0) {
		r.values[i] = v
	}
}

// SetFloatOf sets a DOUBLE column to *v, or to NULL for nil.
func (r Row) SetFloatOf(name string, v *float64) {
	if r.values[r.at(name, Double)] = nil; v != nil {
		r.SetFloat(name, *v)
	}
}

// SetBool sets a BOOLEAN column.
func (r Row) SetBool(name string, v bool) { r.values[r.at(name, Boolean)] = v }

// SetTime sets a TIMESTAMP column; the zero time is NULL.
func (r Row) SetTime(name string, v time.Time) {
	i := r.at(name, Timestamp)
	if r.values[i] = nil; !v.IsZero() {
		r.values[i] = v.UTC().Truncate(time.Microsecond)
	}
}

// SetList sets a VARCHAR[] column; nil is NULL, an empty list is not.
func (r Row) SetList(name string, v []string) {
	i := r.at(name, List)
	if r.values[i] = nil; v != nil {
		list := make([]string, len(v))
		for j, s := range v {
			list[j] = strings.ToValidUTF8(s, "\uFFFD")
		}
		r.values[i] = list
	}
}

// SetJSON sets a JSON column to the canonical JSON of v; nil is NULL. A value
// without a JSON form is a fault of the program.
func (r Row) SetJSON(name string, v any) {
	if err := r.trySetJSON(name, v); err != nil {
		panic(fmt.Sprintf("perf: column %s: %v", name, err))
	}
}

func (r Row) trySetJSON(name string, v any) error {
	i := r.at(name, JSON)
	if r.values[i] = nil; v == nil {
		return nil
	}
	b, err := digest.Canonical(v)
	if err != nil {
		return err
	}
	r.values[i] = jsonText(b)
	return nil
}

// Clear makes a column NULL.
func (r Row) Clear(name string) { r.values[r.at(name)] = nil }

// IsNull reports whether the column was not set.
func (r Row) IsNull(name string) bool { return r.values[r.at(name)] == nil }

// Text returns a VARCHAR or JSON column as text, "" for NULL.
func (r Row) Text(name string) string {
	switch v := r.values[r.at(name, Varchar, JSON)].(type) {
	case string:
		return v
	case jsonText:
		return string(v)
	}
	return ""
}

// Int returns a BIGINT column; false is NULL.
func (r Row) Int(name string) (int64, bool) {
	v, ok := r.values[r.at(name, Bigint)].(int64)
	return v, ok
}

// Float returns a DOUBLE column; false is NULL.
func (r Row) Float(name string) (float64, bool) {
	v, ok := r.values[r.at(name, Double)].(float64)
	return v, ok
}

// Bool returns a BOOLEAN column; ok is false for NULL.
func (r Row) Bool(name string) (v, ok bool) {
	v, ok = r.values[r.at(name, Boolean)].(bool)
	return v, ok
}

// Time returns a TIMESTAMP column, the zero time for NULL.
func (r Row) Time(name string) time.Time {
	v, _ := r.values[r.at(name, Timestamp)].(time.Time)
	return v
}

// List returns a copy of a VARCHAR[] column, nil for NULL.
func (r Row) List(name string) []string {
	v, _ := r.values[r.at(name, List)].([]string)
	return slices.Clone(v)
}

// Clone returns a row that shares nothing with r.
func (r Row) Clone() Row { return Row{schema: r.schema, values: slices.Clone(r.values)} }

const timeFormat = "2006-01-02T15:04:05.000000Z"

func (r Row) plain(volatile bool) map[string]any {
	m := make(map[string]any)
	for i, v := range r.values {
		if v == nil || !volatile && r.schema.Columns[i].Volatile {
			continue
		}
		switch x := v.(type) {
		case time.Time:
			v = x.Format(timeFormat)
		case jsonText:
			v = json.RawMessage(x)
		}
		m[r.schema.Columns[i].Name] = v
	}
	return m
}

// MarshalJSON writes the columns that are not NULL, sorted by name.
func (r Row) MarshalJSON() ([]byte, error) { return digest.Canonical(r.plain(true)) }

// SortRows puts rows into their canonical order: by the key columns, NULL
// first, text by bytes; equal keys by the rest of the row.
func SortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		for i, c := range a.schema.Columns {
			if !c.Key {
				continue
			}
			if d := compareValues(a.values[i], b.values[i]); d != 0 {
				return d
			}
		}
		x, _ := a.MarshalJSON()
		y, _ := b.MarshalJSON()
		return bytes.Compare(x, y)
	})
}

func compareValues(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if x, ok := a.(int64); ok {
		return cmp.Compare(x, b.(int64))
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// RowsDigest names what rows say: the digest of their canonical JSON, a line
// a row in canonical order, under the name of their schema. Volatile columns
// are not in it, nor is the order in which rows came.
func RowsDigest(s *Schema, rows []Row) (digest.Digest, error) {
	sorted := slices.Clone(rows)
	SortRows(sorted)
	text := []byte(s.Name + "\n")
	for _, r := range sorted {
		var err error
		if text, err = digest.AppendCanonical(text, r.plain(false)); err != nil {
			return digest.Digest{}, fmt.Errorf("digest rows of %s: %w", s.Name, err)
		}
		text = append(text, '\n')
	}
	return digest.Of(text), nil
}

type rowsFile struct {
	Schema string            `json:"schema"`
	Rows   []json.RawMessage `json:"rows"`
}

// EncodeRows writes rows as JSON in canonical order, a row a line, so that
// the same rows are the same bytes.
func EncodeRows(s *Schema, rows []Row) ([]byte, error) {
	sorted := slices.Clone(rows)
	SortRows(sorted)
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"schema\":%q,\"rows\":[", s.Name)
	for i, r := range sorted {
		line, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("encode row %s: %w", r.Text("cell_id"), err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

// DecodeRows reads what EncodeRows wrote. Its errors name the row and column.
func DecodeRows(s *Schema, data []byte) ([]Row, error) {
	var f rowsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("rows of %s: %w", s.Name, err)
	}
	if f.Schema != s.Name {
		return nil, fmt.Errorf("rows of %s: the schema is %q", s.Name, f.Schema)
	}
	rows := make([]Row, len(f.Rows))
	for i, raw := range f.Rows {
		rows[i] = NewRow(s)
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("rows of %s: row %d: %w", s.Name, i+1, err)
		}
		for name, v := range m {
			if err := rows[i].setPlain(name, v); err != nil {
				return nil, fmt.Errorf("rows of %s: row %d: %w", s.Name, i+1, err)
			}
		}
	}
	return rows, nil
}

// setPlain sets a column to a value as JSON has it.
func (r Row) setPlain(name string, v any) error {
	c, ok := r.schema.Column(name)
	if !ok {
		return fmt.Errorf("%s has no column %q", r.schema.Name, name)
	}
	if v == nil {
		return nil
	}
	switch x := v.(type) {
	case string:
		if c.Type == Varchar {
			r.SetText(name, x)
			return nil
		}
		if t, err := time.Parse(timeFormat, x); err == nil && c.Type == Timestamp {
			r.SetTime(name, t)
			return nil
		}
	case bool:
		if c.Type == Boolean {
			r.SetBool(name, x)
			return nil
		}
	case json.Number:
		if n, err := x.Int64(); err == nil && c.Type == Bigint {
			r.SetInt(name, n)
			return nil
		}
		if f, err := x.Float64(); err == nil && c.Type == Double {
			r.SetFloat(name, f)
			return nil
		}
	case []any:
		if list, ok := textList(x); ok && c.Type == List {
			r.SetList(name, list)
			return nil
		}
	}
	if c.Type == JSON {
		return r.trySetJSON(name, v)
	}
	return fmt.Errorf("column %s is %s, not %.60v", name, c.Type, v)
}

func textList(v []any) ([]string, bool) {
	list := make([]string, len(v))
	for i, e := range v {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		list[i] = s
	}
	return list, true
}

// ParseText sets a column to a value as a Setting has it. The error says what
// a column of its type takes.
func (r Row) ParseText(name, text string) error {
	c := r.schema.Columns[r.at(name)]
	switch c.Type {
	case Varchar:
		r.SetText(name, text)
	case Bigint:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		r.SetInt(name, n)
	case Double:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		r.SetFloat(name, f)
	case Boolean:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		r.SetBool(name, b)
	case Timestamp:
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return fmt.Errorf("%q is not a time such as 2026-11-23T10:00:00Z", text)
		}
		r.SetTime(name, t)
	case List:
		r.SetList(name, strings.Split(text, ","))
	case JSON:
		if json.Valid([]byte(text)) {
			return r.trySetJSON(name, json.RawMessage(text))
		}
		return r.trySetJSON(name, strings.ToValidUTF8(text, "\uFFFD"))
	}
	return nil
}
