package pipelines

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/yaml"
	"pipeline/steps"
)

// A shape is how a struct of parameters is decoded, worked out once a kind.
type shape struct {
	fields []field
	byName map[string]int
}

type field struct {
	steps.Param
	inner    *shape // of the structs within
	min, max float64
	hasMin   bool
	hasMax   bool
}

func shapeOf(params []steps.Param) *shape {
	s := &shape{byName: make(map[string]int, len(params))}
	for i, p := range params {
		f := field{Param: p}
		if len(p.Params) > 0 {
			f.inner = shapeOf(p.Params)
		}
		f.min, f.hasMin = limitOf(p.Min)
		f.max, f.hasMax = limitOf(p.Max)
		s.fields = append(s.fields, f)
		s.byName[p.Name] = i
	}
	return s
}

// limitOf reads a min or max tag: a number, or a duration in nanoseconds.
func limitOf(tag string) (float64, bool) {
	if tag == "" {
		return 0, false
	}
	if f, err := strconv.ParseFloat(tag, 64); err == nil {
		return f, true
	}
	d, err := time.ParseDuration(tag)
	return float64(d), err == nil
}

func (s *shape) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.Name
	}
	return names
}

// A decoding turns plain values into the fields of steps.
type decoding struct {
	faults *faults
	cell   string // " in concurrency=4", of the cell that is decoded
}

func (d *decoding) fail(at *yaml.Node, path, hint, format string, a ...any) bool {
	d.faults.add(at.Errorf(path, hint, "%s%s", fmt.Sprintf(format, a...), d.cell))
	return false
}

// part returns where a part of a value is written: the value as a whole, if a
// template gives it.
func part(at *yaml.Node, key string, i int) *yaml.Node {
	if at.Kind == yaml.Map {
		if n := at.Get(key); n != nil {
			return n
		}
	}
	if at.Kind == yaml.List && i >= 0 && i < len(at.List) {
		return at.List[i]
	}
	return at
}

// field decodes x into a parameter and checks its limits. It reports whether
// there was no fault.
func (d *decoding) field(f *field, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	return d.value(f, dst, x, at, path) && d.limits(f, dst, at, path)
}

var (
	durationType = reflect.TypeFor[steps.Duration]()
	envNameType  = reflect.TypeFor[steps.EnvName]()
	valueType    = reflect.TypeFor[steps.Value]()
	envNameRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (d *decoding) value(f *field, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	switch dst.Type() {
	case valueType:
		dst.Set(reflect.ValueOf(steps.Value{V: x}))
		return true
	case durationType:
		return d.duration(dst, x, at, path)
	case envNameType:
		s, ok := x.(string)
		if !ok || !envNameRE.MatchString(s) {
			e := at.Errorf(path, "write the name of the variable, never the secret itself", "this is no name of an environment variable")
			e.Snippet = "" // it may well be the secret
			d.faults.add(e)
			return false
		}
		dst.SetString(s)
		return true
	}
	switch dst.Kind() {
	case reflect.Pointer:
		return d.pointer(f, dst, x, at, path)
	case reflect.Slice:
		return d.list(f, dst, x, at, path)
	case reflect.Map:
		return d.mapping(f, dst, x, at, path)
	case reflect.Struct:
		return d.structure(f.inner, dst, x, at, path)
	case reflect.String:
		if s, ok := x.(string); ok {
			dst.SetString(s)
			return true
		}
		return d.mismatch(x, "text", at, path)
	case reflect.Bool:
		if b, ok := x.(bool); ok {
			dst.SetBool(b)
			return true
		}
		return d.mismatch(x, "true or false", at, path)
	case reflect.Float64:
		return d.float(dst, x, at, path)
	case reflect.Int, reflect.Int64:
		return d.integer(dst, x, at, path)
	}
	panic(fmt.Sprintf("pipelines: a parameter of type %s", dst.Type()))
}

func (d *decoding) mismatch(x any, want string, at *yaml.Node, path string) bool {
	hint := ""
	s, isText := x.(string)
	switch {
	case x == nil:
		hint = "give it a value, or leave it out"
	case want == "text" && (at.Kind == yaml.Int || at.Kind == yaml.Float || at.Kind == yaml.Bool):
		hint = "put it in quotes"
	case want == "text":
		if _, ok := render(x); ok {
			hint = "use string(…)"
		}
	case isText && isNumber(s) && want != "true or false" && at.Kind == yaml.String && at.Style != yaml.Plain && !strings.Contains(at.Text, "${{"):
		hint = "drop the quotes"
	case isText && isNumber(s) && (want == "an integer" || want == "a number"):
		hint = "use " + map[bool]string{true: "int(…)", false: "float(…)"}[want == "an integer"]
	}
	return d.fail(at, path, hint, "this is %s, want %s", describe(x), want)
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func (d *decoding) duration(dst reflect.Value, x any, at *yaml.Node, path string) bool {
	s, ok := x.(string)
	if !ok {
		return d.fail(at, path, "write a number and a unit", "this is %s, want a duration such as 30s, 5m or 1h30m", describe(x))
	}
	var v steps.Duration
	if err := v.UnmarshalText([]byte(s)); err != nil {
		return d.fail(at, path, "", "%v", err)
	}
	dst.SetInt(int64(v))
	return true
}

func (d *decoding) float(dst reflect.Value, x any, at *yaml.Node, path string) bool {
	switch x := x.(type) {
	case float64:
		dst.SetFloat(x)
		return true
	case int64:
		if int64(float64(x)) == x {
			dst.SetFloat(float64(x))
			return true
		}
		return d.fail(at, path, "", "%d has no exact floating-point form", x)
	}
	return d.mismatch(x, "a number", at, path)
}

func (d *decoding) integer(dst reflect.Value, x any, at *yaml.Node, path string) bool {
	switch x := x.(type) {
	case int64:
		dst.SetInt(x)
		return true
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			dst.SetInt(int64(x))
			return true
		}
		return d.fail(at, path, "round it: int(round(…))", "this is %s, want an integer", describe(x))
	}
	return d.mismatch(x, "an integer", at, path)
}

func (d *decoding) pointer(f *field, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	if x == nil {
		dst.SetZero()
		return true
	}
	p := reflect.New(dst.Type().Elem())
	if !dst.IsNil() {
		p.Elem().Set(dst.Elem()) // the defaults of what it points to
	}
	if !d.value(f, p.Elem(), x, at, path) {
		return false
	}
	dst.Set(p)
	return true
}

func (d *decoding) list(f *field, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	list, ok := x.([]any)
	if !ok {
		return d.mismatch(x, "a list", at, path)
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, e := range list {
		ok = d.value(f, out.Index(i), e, part(at, "", i), fmt.Sprintf("%s[%d]", path, i)) && ok
	}
	dst.Set(out)
	return ok
}

func (d *decoding) mapping(f *field, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	m, ok := x.(map[string]any)
	if !ok {
		return d.mismatch(x, "a map", at, path)
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(m))
	for _, k := range sortedKeys(m) {
		e := reflect.New(dst.Type().Elem()).Elem()
		ok = d.value(f, e, m[k], part(at, k, -1), yaml.Join(path, k)) && ok
		out.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), e)
	}
	dst.Set(out)
	return ok
}

// structure decodes a map into the fields of a struct. Those that the map
// does not name keep their defaults.
func (d *decoding) structure(s *shape, dst reflect.Value, x any, at *yaml.Node, path string) bool {
	m, ok := x.(map[string]any)
	if !ok {
		return d.mismatch(x, "a map", at, path)
	}
	if s == nil {
		s = &shape{}
	}
	for _, k := range sortedKeys(m) {
		i, known := s.byName[k]
		if !known {
			ok = d.fail(keyOf(at, k), path, yaml.Nearest(k, s.names()), "unknown parameter %q", k)
			continue
		}
		f := &s.fields[i]
		ok = d.field(f, dst.Field(f.Index), m[k], part(at, k, -1), yaml.Join(path, k)) && ok
	}
	for i := range s.fields {
		if _, given := m[s.fields[i].Name]; s.fields[i].Required && !given {
			ok = d.fail(at, path, s.fields[i].Doc, "the parameter %s is missing", s.fields[i].Name)
		}
	}
	return ok
}

// keyOf returns the key itself, or the value it should be in.
func keyOf(at *yaml.Node, key string) *yaml.Node {
	for _, p := range at.Map {
		if p.Key.Text == key {
			return p.Key
		}
	}
	return at
}

// limits checks the enum, min and max tags; of a list, of each element.
func (d *decoding) limits(f *field, v reflect.Value, at *yaml.Node, path string) bool {
	if f.Enum == nil && !f.hasMin && !f.hasMax {
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || d.limits(f, v.Elem(), at, path)
	case reflect.Slice:
		ok := true
		for i := range v.Len() {
			ok = d.limits(f, v.Index(i), part(at, "", i), fmt.Sprintf("%s[%d]", path, i)) && ok
		}
		return ok
	case reflect.String:
		if f.Enum != nil && !slices.Contains(f.Enum, v.String()) {
			return d.fail(at, path, yaml.Closest(v.String(), f.Enum), "%q is not one of %s", v.String(), strings.Join(f.Enum, ", "))
		}
	case reflect.Int, reflect.Int64:
		return d.bounds(f, float64(v.Int()), v, at, path)
	case reflect.Float64:
		return d.bounds(f, v.Float(), v, at, path)
	}
	return true
}

func (d *decoding) bounds(f *field, x float64, v reflect.Value, at *yaml.Node, path string) bool {
	switch {
	case f.hasMin && x < f.min:
		return d.fail(at, path, "", "%v is below the minimum of %s", v.Interface(), f.Min)
	case f.hasMax && x > f.max:
		return d.fail(at, path, "", "%v is above the maximum of %s", v.Interface(), f.Max)
	}
	return true
}
