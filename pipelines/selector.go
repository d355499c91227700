package pipelines

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/yaml"
	"pipeline/steps"
)

// A Selector picks nodes of one step: "cells", or some of its cells:
//
//	cells[config=fp8-tp8|fp8-tp4,concurrency=16..64,trial=1]
//	cells[config=fp8-*]
//
// Terms are joined by and. A term takes values separated by |, each the text
// of a value, an inclusive range of numbers, or a pattern in which * stands
// for any text.
type Selector struct {
	Step  string
	terms []term
}

type term struct {
	axis   string
	values []choice
}

// A choice is one alternative of a term.
type choice struct {
	text     string
	from, to float64
	isRange  bool
}

// ParseSelector reads a selector. Whether it fits a plan is for Select to say.
func ParseSelector(text string) (Selector, error) {
	fail := func(format string, a ...any) (Selector, error) {
		return Selector{}, fmt.Errorf("selector %q: %s; write step or step[axis=value,…]", text, fmt.Sprintf(format, a...))
	}
	id, rest, hasCells := strings.Cut(strings.TrimSpace(text), "[")
	s := Selector{Step: strings.TrimSpace(id)}
	if !stepRE.MatchString(s.Step) {
		return fail("%q is no id of a step", s.Step)
	}
	if !hasCells {
		return s, nil
	}
	inner, ok := strings.CutSuffix(rest, "]")
	if !ok {
		return fail("it does not end with ]")
	}
	for part := range strings.SplitSeq(inner, ",") {
		axis, values, ok := strings.Cut(part, "=")
		axis = strings.TrimSpace(axis)
		switch {
		case !ok:
			return fail("%q is not of the form axis=value", part)
		case !nameRE.MatchString(axis):
			return fail("%q is no name of an axis", axis)
		case slices.ContainsFunc(s.terms, func(t term) bool { return t.axis == axis }):
			return fail("the axis %s stands twice; separate values with |", axis)
		}
		t := term{axis: axis}
		for v := range strings.SplitSeq(values, "|") {
			c, err := parseChoice(strings.TrimSpace(v))
			if err != nil {
				return fail("%s: %v", axis, err)
			}
			t.values = append(t.values, c)
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

func parseChoice(text string) (choice, error) {
	if text == "" {
		return choice{}, errors.New("a value is missing")
	}
	c := choice{text: text}
	from, to, ok := strings.Cut(text, "..")
	if !ok {
		return c, nil
	}
	a, aok := number(from)
	b, bok := number(to)
	if !aok || !bok {
		return c, nil // a text with dots
	}
	if a > b {
		return c, fmt.Errorf("the range %s is empty: its first number is the larger", text)
	}
	c.from, c.to, c.isRange = a, b, true
	return c, nil
}

func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f-f == 0
}

// String returns the selector as ParseSelector reads it.
func (s Selector) String() string {
	if len(s.terms) == 0 {
		return s.Step
	}
	parts := make([]string, len(s.terms))
	for i, t := range s.terms {
		values := make([]string, len(t.values))
		for j, v := range t.values {
			values[j] = v.text
		}
		parts[i] = t.axis + "=" + strings.Join(values, "|")
	}
	return s.Step + "[" + strings.Join(parts, ",") + "]"
}

func (c choice) match(value string) bool {
	if c.isRange {
		f, ok := number(value)
		return ok && c.from <= f && f <= c.to
	}
	if c.text == value || strings.Contains(c.text, "*") && glob(c.text, value) {
		return true
	}
	a, aok := number(c.text)
	b, bok := number(value)
	return aok && bok && a == b
}

// glob reports whether s matches pattern, in which * stands for any text.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, p := range parts[1:last] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[last])
}

func (t term) match(value string) bool {
	return slices.ContainsFunc(t.values, func(c choice) bool { return c.match(value) })
}

// Match reports whether s selects a node.
func (s Selector) Match(p *Plan, id NodeID) bool {
	n := &p.Nodes[id]
	return p.Steps[n.Step].ID == s.Step && s.matchCell(n.Cell)
}

func (s Selector) matchCell(cell []steps.Coord) bool {
	for _, t := range s.terms {
		i := slices.IndexFunc(cell, func(c steps.Coord) bool { return c.Axis == t.axis })
		if i < 0 || !t.match(cell[i].Value) {
			return false
		}
	}
	return true
}

// Select returns the nodes that s selects, in the order of the plan. It is an
// error to select nothing; the error names the nearest step, axis or value.
func (s Selector) Select(p *Plan) ([]NodeID, error) {
	i := slices.IndexFunc(p.Steps, func(ps PlanStep) bool { return ps.ID == s.Step })
	if i < 0 {
		ids := make([]string, len(p.Steps))
		for j, ps := range p.Steps {
			ids[j] = ps.ID
		}
		return nil, s.noMatch(yaml.Nearest(s.Step, ids), "there is no step %s", s.Step)
	}
	step := p.Steps[i]
	for _, t := range s.terms {
		if err := s.checkTerm(p, step, t); err != nil {
			return nil, err
		}
	}
	var out []NodeID
	for _, id := range step.Nodes {
		if s.matchCell(p.Nodes[id].Cell) {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return nil, s.noMatch("", "no cell of %s has all of these values", step.ID)
	}
	return out, nil
}

// checkTerm refuses an axis or a value that no cell of the step has.
func (s Selector) checkTerm(p *Plan, step PlanStep, t term) error {
	axis := slices.Index(step.Axes, t.axis)
	if axis < 0 {
		hint := yaml.Nearest(t.axis, step.Axes)
		if len(step.Axes) == 0 {
			hint = "it has none"
		}
		return s.noMatch(hint, "%s has no axis %s", step.ID, t.axis)
	}
	var values []string
	seen := map[string]bool{}
	for _, id := range step.Nodes {
		if v := p.Nodes[id].Cell[axis].Value; !seen[v] {
			seen[v] = true
			values = append(values, v)
		}
	}
	for _, c := range t.values {
		if !slices.ContainsFunc(values, c.match) {
			return s.noMatch(yaml.Nearest(c.text, values), "%s has no cell with %s=%s", step.ID, t.axis, c.text)
		}
	}
	return nil
}

func (s Selector) noMatch(hint, format string, a ...any) error {
	msg := fmt.Sprintf("selector %q: ", s.String()) + fmt.Sprintf(format, a...)
	if hint != "" {
		msg += "; " + hint
	}
	return errors.New(msg)
}
