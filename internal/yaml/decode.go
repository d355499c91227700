package yaml

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Unmarshal parses src and decodes it into what into points to, strictly: a
// field that the struct does not have, a value of another type and a number
// that would have to be rounded are errors, all of them reported at once.
//
// The fields of a struct are named by their tag yaml:"name"; those without a
// tag are not decoded. A field may be a struct, pointer, slice, map with
// string keys, string, bool, integer, float64, any (see Node.Value), *Node, or
// implement encoding.TextUnmarshaler, which is given text only. An integer is
// read from a number without a fraction, a float64 from any number.
func Unmarshal(file string, src []byte, into any) error {
	n, err := Parse(file, src)
	if err != nil {
		return err
	}
	return n.Decode(into)
}

// Decode is Unmarshal of a value that is parsed already.
func (n *Node) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("yaml: cannot decode into a %T, want a pointer", into))
	}
	var d decoding
	d.value(n, v.Elem(), "")
	return d.errs.Err()
}

type decoding struct{ errs Errors }

func (d *decoding) fail(n *Node, path, hint, format string, a ...any) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, n.Errorf(path, hint, format, a...))
	}
}

var (
	nodeType = reflect.TypeFor[*Node]()
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoding) value(n *Node, v reflect.Value, path string) {
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(n))
		return
	}
	if v.Kind() == reflect.Pointer {
		if n.Kind == Null {
			v.SetZero()
			return
		}
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), path)
		v.Set(p)
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(textType) {
		d.text(n, v.Addr().Interface().(encoding.TextUnmarshaler), path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Interface:
		if x := n.Value(); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoding) text(n *Node, u encoding.TextUnmarshaler, path string) {
	if n.Kind != String {
		d.mismatch(n, "text", path)
		return
	}
	if err := u.UnmarshalText([]byte(n.Text)); err != nil {
		d.fail(n, path, "", "%v", err)
	}
}

// mismatch reports a value of the wrong kind, and what may have been meant.
func (d *decoding) mismatch(n *Node, want, path string) {
	hint := ""
	switch {
	case n.Kind == Null:
		hint = "give it a value, or leave the key out"
	case want == "text" && n.Kind != List && n.Kind != Map:
		hint = "put it in quotes"
	case n.Kind == String && n.Style != Plain:
		var bare Node
		if bare.setPlain(n.Text); bare.Kind.String() == want || want == Float.String() && bare.Kind == Int {
			hint = "drop the quotes"
		}
	case n.Kind == String && want == Bool.String():
		hint = "write true or false"
	}
	d.fail(n, path, hint, "this is %s, want %s", n.Describe(), want)
}

// Describe says in a few words what the value is: text "64", a list.
func (n *Node) Describe() string {
	switch n.Kind {
	case Null, List, Map:
		return n.Kind.String()
	case String:
		return "text " + strconv.Quote(clip(n.Text))
	}
	return n.Kind.String() + " " + clip(n.Text)
}

func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

func (d *decoding) structure(n *Node, v reflect.Value, path string) {
	if n.Kind != Map {
		if n.Kind != Null || path != "" {
			d.mismatch(n, "a map", path)
		}
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	for _, p := range n.Map {
		i, ok := fields[p.Key.Text]
		if !ok {
			d.fail(p.Key, path, Nearest(p.Key.Text, names), "unknown field %q", p.Key.Text)
			continue
		}
		d.value(p.Value, v.Field(i), Join(path, p.Key.Text))
	}
}

// Join appends a key to a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoding) mapping(n *Node, v reflect.Value, path string) {
	if n.Kind == Null {
		v.SetZero()
		return
	}
	if n.Kind != Map {
		d.mismatch(n, "a map", path)
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Map))
	for _, p := range n.Map {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(p.Value, e, Join(path, p.Key.Text))
		m.SetMapIndex(reflect.ValueOf(p.Key.Text).Convert(v.Type().Key()), e)
	}
	v.Set(m)
}

func (d *decoding) list(n *Node, v reflect.Value, path string) {
	if n.Kind == Null {
		v.SetZero()
		return
	}
	if n.Kind != List {
		d.mismatch(n, "a list", path)
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.List), len(n.List))
	for i, e := range n.List {
		d.value(e, s.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(s)
}

func (d *decoding) scalar(n *Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if n.Kind == String {
			v.SetString(n.Text)
			return
		}
		d.mismatch(n, "text", path)
	case reflect.Bool:
		if n.Kind == Bool {
			v.SetBool(n.Bool)
			return
		}
		d.mismatch(n, Bool.String(), path)
	case reflect.Float64, reflect.Float32:
		switch n.Kind {
		case Float:
			v.SetFloat(n.Float)
		case Int:
			v.SetFloat(float64(n.Int))
		default:
			d.mismatch(n, Float.String(), path)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.integer(n, v, path)
	default:
		panic(fmt.Sprintf("yaml: cannot decode into a %s", v.Type()))
	}
}

func (d *decoding) integer(n *Node, v reflect.Value, path string) {
	i := n.Int
	if n.Kind == Float && n.Float == math.Trunc(n.Float) && math.Abs(n.Float) < 1<<53 {
		i = int64(n.Float)
	} else if n.Kind != Int {
		d.mismatch(n, Int.String(), path)
		return
	}
	if v.OverflowInt(i) {
		d.fail(n, path, "", "%d is too large", i)
		return
	}
	v.SetInt(i)
}
