package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"

	"pipeline/internal/digest"
	"pipeline/steps"
)

// An encoder writes the key parameters of steps, one line a leaf. What to
// write for a type is worked out once.
type encoder struct {
	dir   string // that paths of the spec are relative to
	types map[reflect.Type][]paramLine
	files map[string]digest.Digest // by path; a file is read once a run
}

// A paramLine is a parameter at a fixed place in a type.
type paramLine struct {
	index  []int  // of the field, through structs
	name   string // endpoint.kind
	prefix string // "with endpoint.kind "
	leaf   bool   // one line; else it holds structs or files in lists, maps or pointers
}

func newEncoder(dir string) *encoder {
	return &encoder{dir: dir, types: make(map[reflect.Type][]paramLine), files: make(map[string]digest.Digest)}
}

var (
	durationType = reflect.TypeFor[steps.Duration]()
	fileType     = reflect.TypeFor[steps.File]()
	secretType   = reflect.TypeFor[steps.EnvName]()
	valueType    = reflect.TypeFor[steps.Value]()
)

// append writes the parameters of s, a pointer to a struct.
func (e *encoder) append(b []byte, s steps.Step) ([]byte, error) {
	v := reflect.ValueOf(s)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("its parameters are a %T, not a pointer to a struct", s)
	}
	return e.appendStruct(b, v.Elem(), "")
}

func (e *encoder) linesOf(t reflect.Type) []paramLine {
	lines, ok := e.types[t]
	if !ok {
		lines = collectLines(nil, t, nil, "")
		slices.SortFunc(lines, func(a, b paramLine) int { return compareNames(a.name, b.name) })
		e.types[t] = lines
	}
	return lines
}

func compareNames(a, b string) int {
	if a < b {
		return -1
	}
	return 1 // names in one type are never equal
}

// collectLines finds the key parameters of a struct and of the structs that
// are directly in it.
func collectLines(lines []paramLine, t reflect.Type, index []int, prefix string) []paramLine {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("key") != "yes" || f.Type == secretType {
			continue
		}
		name := prefix + paramName(f)
		at := append(slices.Clone(index), i)
		if f.Type.Kind() == reflect.Struct && f.Type != valueType {
			lines = collectLines(lines, f.Type, at, name+".")
			continue
		}
		lines = append(lines, paramLine{index: at, name: name, prefix: "with " + name + " ", leaf: !hasLines(f.Type) && f.Type != fileType})
	}
	return lines
}

func paramName(f reflect.StructField) string {
	tag := f.Tag.Get("json")
	for i := range len(tag) {
		if tag[i] == ',' {
			return tag[:i]
		}
	}
	return tag
}

// hasLines reports whether values of t hold structs or files, and so take
// lines of their own.
func hasLines(t reflect.Type) bool {
	switch t {
	case valueType, durationType, secretType:
		return false
	case fileType:
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return hasLines(t.Elem())
	}
	return false
}

func (e *encoder) appendStruct(b []byte, v reflect.Value, prefix string) ([]byte, error) {
	for _, l := range e.linesOf(v.Type()) {
		f := v
		for _, i := range l.index {
			f = f.Field(i)
		}
		var err error
		if l.leaf && prefix == "" {
			if b, err = appendLeaf(append(b, l.prefix...), f); err != nil {
				return nil, fmt.Errorf("parameter %s: %w", l.name, err)
			}
			b = append(b, '\n')
			continue
		}
		if b, err = e.appendLines(b, f, prefix+l.name); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendLines writes a value that may take several lines. A list or map says
// how many elements it has, as an element may have no line of its own.
func (e *encoder) appendLines(b []byte, v reflect.Value, name string) ([]byte, error) {
	t := v.Type()
	if t == fileType {
		return e.appendFile(b, v.String(), name)
	}
	if !hasLines(t) {
		if t == secretType {
			return b, nil
		}
		b, err := appendLeaf(append(append(append(b, "with "...), name...), ' '), v)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		return append(b, '\n'), nil
	}
	var err error
	switch t.Kind() {
	case reflect.Struct:
		return e.appendStruct(b, v, name+".")
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "with "+name+" null\n"...), nil
		}
		return e.appendLines(b, v.Elem(), name)
	case reflect.Slice:
		b = append(b, "with "+name+".# "+strconv.Itoa(v.Len())+"\n"...)
		for i := range v.Len() {
			if b, err = e.appendLines(b, v.Index(i), name+"."+strconv.Itoa(i)); err != nil {
				return nil, err
			}
		}
	case reflect.Map:
		b = append(b, "with "+name+".# "+strconv.Itoa(v.Len())+"\n"...)
		for _, k := range sortedKeys(v) {
			key := string(appendQuoted(nil, k.String()))
			if b, err = e.appendLines(append(b, "with "+name+".key "+key+"\n"...), v.MapIndex(k), name+"."+key); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return compareNames(a.String(), b.String()) })
	return keys
}

// appendLeaf writes a value as canonical JSON, a Duration as its nanoseconds.
func appendLeaf(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Type() {
	case valueType:
		return digest.AppendCanonical(b, v.Field(0).Interface())
	case secretType:
		return append(b, "null"...), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Float64:
		return digest.AppendCanonical(b, v.Float())
	case reflect.String:
		return digest.AppendCanonical(b, v.String())
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendLeaf(b, v.Elem())
	case reflect.Slice:
		return appendList(b, v)
	case reflect.Map:
		return appendMap(b, v)
	}
	return nil, fmt.Errorf("a value of type %s has no place in a manifest", v.Type())
}

func appendList(b []byte, v reflect.Value) ([]byte, error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendLeaf(b, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, v reflect.Value) ([]byte, error) {
	b = append(b, '{')
	for i, k := range sortedKeys(v) {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = digest.AppendCanonical(b, k.String()); err != nil {
			return nil, err
		}
		if b, err = appendLeaf(append(b, ':'), v.MapIndex(k)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendFile writes the digest of what a file or folder holds.
func (e *encoder) appendFile(b []byte, path, name string) ([]byte, error) {
	b = append(b, "with "+name+" "...)
	if path == "" {
		return append(b, "\"\"\n"...), nil
	}
	d, err := e.fileDigest(resolve(e.dir, path))
	if err != nil {
		return nil, fmt.Errorf("parameter %s: %w", name, err)
	}
	return append(appendHex(append(b, "file "...), d), '\n'), nil
}

func resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (e *encoder) fileDigest(path string) (digest.Digest, error) {
	if d, ok := e.files[path]; ok {
		return d, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return digest.Digest{}, err
	}
	var d digest.Digest
	if st.IsDir() {
		d, err = folderDigest(path)
	} else {
		d, err = digestOfFile(path)
	}
	if err == nil {
		e.files[path] = d
	}
	return d, err
}

// folderDigest is the digest of the sorted list of (name, digest) of all files
// below dir. Empty folders have no part in it.
func folderDigest(dir string) (digest.Digest, error) {
	var list []byte
	err := filepath.WalkDir(dir, func(path string, de fs.DirEntry, err error) error { // in lexical order
		if err != nil || de.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		d, err := digestOfFile(path)
		if err != nil {
			return err
		}
		list = appendQuoted(list, filepath.ToSlash(rel))
		list = append(appendHex(append(list, ' '), d), '\n')
		return nil
	})
	return digest.Of(list), err
}

func digestOfFile(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return digest.Digest{}, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	d, _, err := digest.OfReader(f)
	return d, err
}
