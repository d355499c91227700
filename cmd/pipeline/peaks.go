package main

import (
	"fmt"
	"strings"

	"pipeline/internal/sol"
	"pipeline/internal/yaml"
)

// peaks finds peaks of hardware that a spec writes down itself, in whatever
// place and under whatever step: those come from the ceilings by key only.
type peaks struct{ faults yaml.Errors }

// reading wraps the reader of specs, so that bases are looked at too.
func (p *peaks) reading(read func(string) ([]byte, error)) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		src, err := read(path)
		if err == nil {
			p.text(path, src)
		}
		return src, err
	}
}

func (p *peaks) text(path string, src []byte) {
	if !sol.MayInline(src) {
		return
	}
	if root, err := yaml.Parse(path, src); err == nil { // else the loader says what is wrong
		p.walk(root, "")
	}
}

func (p *peaks) walk(n *yaml.Node, path string) {
	for i, pair := range n.Map {
		name := pair.Key.Text
		if path != "" {
			name = path + "." + name
		}
		if err := sol.RefuseInline("the spec", pair.Key.Text, pair.Value.Text); err != nil {
			p.faults = append(p.faults, n.Map[i].Key.Errorf(name, "", "%v", err))
			continue
		}
		p.walk(pair.Value, name)
	}
	for i, e := range n.List {
		p.walk(e, fmt.Sprintf("%s[%d]", path, i))
	}
}

// flags looks at --set path=value.
func (p *peaks) flags(set []string) error {
	for _, s := range set {
		name, value, _ := strings.Cut(s, "=")
		if err := sol.RefuseInline("--set", name, value); err != nil {
			return err
		}
	}
	return p.faults.Err()
}
