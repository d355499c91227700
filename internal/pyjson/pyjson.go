// Package pyjson reads JSON as benchmark tools in Python write it: with NaN and
// Infinity for numbers, several values one after another, and fields that come
// and go with the version. A fault names the field by its path.
package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxBytes is the most that is read of one file.
const MaxBytes = 1 << 30

// An Object is a JSON object whose fields are read by name. What is missing,
// null or not finite is absent. The first fault met, in it or in an object
// below it, is kept for Err, so that a reader can ask for all and then look
// once.
type Object struct {
	path   string
	fields map[string]json.RawMessage
	fault  *error
}

// Read returns the objects that r holds: one, several one after another (a
// line each, or not), or a list of them.
func Read(r io.Reader) ([]Object, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("it is larger than %d MB", MaxBytes>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(plain(text)))
	var out []Object
	for n := 1; ; n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, syntax(err, dec.InputOffset(), len(bytes.TrimRight(text, " \t\r\n")), n)
		}
		objects, err := objectsOf(raw, n)
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no JSON object")
	}
	return out, nil
}

// syntax says where the text stops to be JSON.
func syntax(err error, offset int64, size, n int) error {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		offset = s.Offset
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || offset > int64(size) {
		return fmt.Errorf("JSON value %d is cut off: the file ends inside it", n)
	}
	return fmt.Errorf("JSON value %d is none from byte %d on: %w", n, offset, err)
}

func objectsOf(raw json.RawMessage, n int) ([]Object, error) {
	if len(raw) > 0 && raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		var out []Object
		for i, item := range list {
			o, err := newObject(fmt.Sprintf("[%d]", i), item)
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
		return out, nil
	}
	o, err := newObject("", raw)
	if err != nil {
		return nil, fmt.Errorf("JSON value %d: %w", n, err)
	}
	return []Object{o}, nil
}

func newObject(path string, raw json.RawMessage) (Object, error) {
	o := Object{path: path, fault: new(error)}
	if err := json.Unmarshal(raw, &o.fields); err != nil || o.fields == nil {
		return o, fmt.Errorf("%sit is %s, not an object", at(path), kind(raw))
	}
	return o, nil
}

func at(path string) string {
	if path == "" {
		return ""
	}
	return "field " + path + ": "
}

// plain writes null for the numbers that JSON does not have.
func plain(text []byte) []byte {
	if !bytes.Contains(text, []byte("NaN")) && !bytes.Contains(text, []byte("Infinity")) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch {
		case text[i] == '"':
			end := stringEnd(text, i)
			out, i = append(out, text[i:end]...), end
			continue
		case text[i] == 'N' && bytes.HasPrefix(text[i:], []byte("NaN")):
			out, i = append(out, "null"...), i+len("NaN")
			continue
		case text[i] == 'I' && bytes.HasPrefix(text[i:], []byte("Infinity")):
			out, i = append(bytes.TrimSuffix(out, []byte("-")), "null"...), i+len("Infinity")
			continue
		}
		out, i = append(out, text[i]), i+1
	}
	return out
}

// stringEnd returns where the string that begins at i ends.
func stringEnd(text []byte, i int) int {
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return len(text)
}

// Err returns the first fault that was met.
func (o Object) Err() error {
	if o.fault == nil {
		return nil
	}
	return *o.fault
}

// Fault keeps a fault of a field for Err.
func (o Object) Fault(name, format string, a ...any) {
	if o.fault != nil && *o.fault == nil {
		*o.fault = fmt.Errorf("field %s: %s", o.Path(name), fmt.Sprintf(format, a...))
	}
}

// Path returns the path of a field, from the top.
func (o Object) Path(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// Names returns the names of all fields, sorted.
func (o Object) Names() []string { return slices.Sorted(maps.Keys(o.fields)) }

// Has reports whether a field is there and not null.
func (o Object) Has(names ...string) bool {
	for _, n := range names {
		if _, ok := o.raw(n); !ok {
			return false
		}
	}
	return true
}

// IsZero reports whether there is no such object.
func (o Object) IsZero() bool { return o.fields == nil }

func (o Object) raw(name string) (json.RawMessage, bool) {
	raw, ok := o.fields[name]
	return raw, ok && string(raw) != "null"
}

// Float returns a number; nil if it is absent.
func (o Object) Float(name string) *float64 {
	raw, ok := o.raw(name)
	if !ok {
		return nil
	}
	var f float64
	if err := json.Unmarshal(raw, &f); err == nil {
		return &f
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			if math.IsInf(f, 0) || math.IsNaN(f) {
				return nil // "inf", as a request rate
			}
			return &f
		}
	}
	o.Fault(name, "%s is no number", show(raw))
	return nil
}

// Count returns a count; false if it is absent.
func (o Object) Count(name string) (int, bool) {
	f := o.Float(name)
	switch {
	case f == nil:
		return 0, false
	case *f < 0 || *f > 1<<53 || *f != math.Trunc(*f):
		o.Fault(name, "%v is no count", *f)
		return 0, false
	}
	return int(*f), true
}

// Text returns a string, also that of a number or a truth value; "" if it is absent.
func (o Object) Text(name string) string {
	raw, ok := o.raw(name)
	if !ok {
		return ""
	}
	var text string
	switch raw[0] {
	case '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			o.Fault(name, "%v", err)
		}
		return text
	case '{', '[':
		o.Fault(name, "%s, want a text", kind(raw))
		return ""
	}
	return string(raw)
}

// Bool returns a truth value; false and false if it is absent.
func (o Object) Bool(name string) (value, ok bool) {
	raw, ok := o.raw(name)
	if !ok {
		return false, false
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		o.Fault(name, "%s is neither true nor false", show(raw))
		return false, false
	}
	return value, true
}

// Object returns an object below; a zero one, all of whose fields are absent,
// if there is none.
func (o Object) Object(names ...string) Object {
	for _, name := range names {
		below := Object{path: o.Path(name), fault: o.fault}
		if raw, ok := o.raw(name); ok {
			if err := json.Unmarshal(raw, &below.fields); err != nil {
				o.Fault(name, "%s, want an object", kind(raw))
				below.fields = nil
			}
		}
		o = below
	}
	return o
}

// Objects returns a list of objects; nil if it is absent.
func (o Object) Objects(name string) []Object {
	var list []json.RawMessage
	o.Into(name, &list)
	var out []Object
	for i, item := range list {
		below := Object{path: fmt.Sprintf("%s[%d]", o.Path(name), i), fault: o.fault}
		if err := json.Unmarshal(item, &below.fields); err != nil || below.fields == nil {
			o.Fault(fmt.Sprintf("%s[%d]", name, i), "%s, want an object", kind(item))
			return nil
		}
		out = append(out, below)
	}
	return out
}

// Floats returns a list of numbers; nil if it is absent. A null in it is NaN.
func (o Object) Floats(name string) []float64 {
	var list []*float64
	if !o.Into(name, &list) {
		return nil
	}
	return unpoint(list)
}

// FloatLists returns a list of lists of numbers; nil if it is absent.
func (o Object) FloatLists(name string) [][]float64 {
	var lists [][]*float64
	if !o.Into(name, &lists) {
		return nil
	}
	out := make([][]float64, len(lists))
	for i, list := range lists {
		out[i] = unpoint(list)
	}
	return out
}

func unpoint(list []*float64) []float64 {
	out := make([]float64, len(list))
	for i, f := range list {
		if out[i] = math.NaN(); f != nil {
			out[i] = *f
		}
	}
	return out
}

// Texts returns a list of strings; nil if it is absent. A null in it is "".
func (o Object) Texts(name string) []string {
	var list []string
	o.Into(name, &list)
	return list
}

// Into decodes a field into v, and reports whether it did.
func (o Object) Into(name string, v any) bool {
	raw, ok := o.raw(name)
	if !ok {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			o.Fault(name, "a JSON %s does not fit (byte %d of it)", wrong.Value, wrong.Offset)
		} else {
			o.Fault(name, "%v", err)
		}
		return false
	}
	return true
}

func kind(raw json.RawMessage) string {
	switch {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "a list"
	case raw[0] == '"':
		return "a text"
	case string(raw) == "null":
		return "null"
	case string(raw) == "true", string(raw) == "false":
		return "a truth value"
	}
	return "a number"
}

func show(raw json.RawMessage) string {
	const most = 40
	text := strings.ToValidUTF8(string(raw), "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
