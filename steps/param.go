package steps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
)

// A Param is one parameter of a step: an exported field of its struct.
//
//	Concurrency int `json:"concurrency" key:"yes" required:"true" min:"1" doc:"Streams kept busy at once."`
//
// Every field has the tags json (its name in a spec), doc and key. key:"yes"
// makes it part of the key; key:"no" is for what cannot change what is written
// or measured (an address, a poll interval, a title of a log).
type Param struct {
	Name     string       `json:"name"`
	Doc      string       `json:"doc"`
	Key      bool         `json:"key"`
	Required bool         `json:"required,omitempty"`
	Enum     []string     `json:"enum,omitempty"`    // enum:"a,b" on a string
	Min      string       `json:"min,omitempty"`     // min:"1" on a number or Duration
	Max      string       `json:"max,omitempty"`     // max:"100"
	Default  any          `json:"default,omitempty"` // as New sets it
	Params   []Param      `json:"params,omitempty"`  // of a struct, or of the structs in a list
	Type     reflect.Type `json:"-"`
	Index    int          `json:"-"` // of the field in its struct
}

// The types a parameter may have, besides structs of parameters, lists of
// these, and maps from string to these.
type (
	// A Duration is written "30s" or "5m" in a spec, and hashed in nanoseconds.
	Duration time.Duration

	// A File is a path of the spec, relative to the spec's folder, to a file
	// or a folder. What it holds is its identity; where it lies is not. The
	// digest of a folder is that of its sorted list of (name, digest).
	File string

	// An Env names an environment variable that holds a secret. The name is
	// no identity, and the value is never seen by the engine.
	EnvName string

	// A Value is any plain value: map[string]any, []any, string, int64,
	// float64, bool or nil.
	Value struct{ V any }
)

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the form that a spec has.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the form that a spec has.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s, 5m or 1h30m", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes the value itself.
func (v Value) MarshalJSON() ([]byte, error) { return digest.Canonical(v.V) }

// UnmarshalJSON reads any JSON value: whole numbers as int64, others as float64.
func (v *Value) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&v.V); err != nil {
		return err
	}
	v.V = plain(v.V)
	return nil
}

func plain(v any) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		f, err := x.Float64()
		if err != nil {
			return string(x) // beyond what a float can hold
		}
		return f
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	}
	return v
}

// ParamsOf returns the parameters of s, with the values it has now as
// defaults. Its errors are faults of the kind, not of a user.
func ParamsOf(s Step) ([]Param, error) {
	v := reflect.ValueOf(s)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("New returns %T, want a pointer to a struct", s)
	}
	return paramsOf(v.Elem().Type(), v.Elem(), 0)
}

const maxNesting = 8 // structs within structs; one that holds itself has no end

func paramsOf(t reflect.Type, v reflect.Value, depth int) ([]Param, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("the parameters of %s are nested deeper than %d levels", t.Name(), maxNesting)
	}
	var out []Param
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		p, err := paramOf(f, i)
		if err != nil {
			return nil, fmt.Errorf("parameter %s.%s: %w", t.Name(), f.Name, err)
		}
		if v.IsValid() && !v.Field(i).IsZero() {
			p.Default = v.Field(i).Interface()
		}
		if inner, ok := structIn(f.Type); ok {
			var iv reflect.Value
			if v.IsValid() && f.Type.Kind() == reflect.Struct {
				iv = v.Field(i)
			}
			if p.Params, err = paramsOf(inner, iv, depth+1); err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func paramOf(f reflect.StructField, i int) (Param, error) {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	p := Param{
		Name: name, Doc: f.Tag.Get("doc"), Type: f.Type, Index: i,
		Required: f.Tag.Get("required") == "true", Min: f.Tag.Get("min"), Max: f.Tag.Get("max"),
	}
	if e := f.Tag.Get("enum"); e != "" {
		p.Enum = strings.Split(e, ",")
	}
	switch key := f.Tag.Get("key"); {
	case !nameRE.MatchString(name):
		return p, errors.New(`no json:"name" tag of the form a_b`)
	case p.Doc == "":
		return p, errors.New("no doc tag")
	case key != "yes" && key != "no":
		return p, errors.New(`no key:"yes" or key:"no" tag`)
	default:
		p.Key = key == "yes"
	}
	if err := checkType(f.Type); err != nil {
		return p, err
	}
	return p, checkLimits(p)
}

// checkLimits refuses limits that could not be checked, and so would be none.
func checkLimits(p Param) error {
	t := p.Type
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p.Enum != nil && t.Kind() != reflect.String {
		return errors.New("an enum tag, which is for strings only")
	}
	for _, limit := range []string{p.Min, p.Max} {
		if limit == "" {
			continue
		}
		var err error
		switch {
		case t == reflect.TypeFor[Duration]():
			_, err = time.ParseDuration(limit)
		case t.Kind() == reflect.Int, t.Kind() == reflect.Int64, t.Kind() == reflect.Float64:
			_, err = strconv.ParseFloat(limit, 64)
		default:
			err = errors.New("only numbers and durations have limits")
		}
		if err != nil {
			return fmt.Errorf("the limit %q: %w", limit, err)
		}
	}
	return nil
}

func checkType(t reflect.Type) error {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[File](), reflect.TypeFor[EnvName](), reflect.TypeFor[Value]():
		return nil
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64, reflect.String, reflect.Struct:
		return nil
	case reflect.Slice, reflect.Pointer:
		return checkType(t.Elem())
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return checkType(t.Elem())
		}
	}
	return fmt.Errorf("a parameter cannot have the type %s", t)
}

// structIn returns the struct whose fields are parameters inside t.
func structIn(t reflect.Type) (reflect.Type, bool) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t, t.Kind() == reflect.Struct && t != reflect.TypeFor[Value]()
}
