package steps

import (
	"errors"
	"fmt"
	"reflect"
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

// ParamsOf returns the parameters of s, with the values it has now as
// defaults. Its errors are faults of the kind, not of a user.
func ParamsOf(s Step) ([]Param, error) {
	v := reflect.ValueOf(s)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("New returns %T, want a pointer to a struct", s)
	}
	return paramsOf(v.Elem().Type(), v.Elem())
}

func paramsOf(t reflect.Type, v reflect.Value) ([]Param, error) {
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
			if p.Params, err = paramsOf(inner, iv); err != nil {
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
	return p, checkType(f.Type)
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
