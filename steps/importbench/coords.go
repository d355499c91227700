package importbench

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pipeline/lake/perf"
	"pipeline/steps"
)

// A pattern finds coordinates in a path.
type pattern struct {
	text  string
	re    *regexp.Regexp // nil: it finds none
	names []string
}

var partRE = regexp.MustCompile(`\{([^{}]*)\}|\*\*|\*`)

func newPattern(text string) (pattern, error) {
	if text == "" {
		return pattern{}, nil
	}
	p := pattern{text: text}
	var re strings.Builder
	at := 0
	for _, m := range partRE.FindAllStringSubmatchIndex(text, -1) {
		re.WriteString(regexp.QuoteMeta(text[at:m[0]]))
		at = m[1]
		switch part := text[m[0]:m[1]]; part {
		case "**":
			re.WriteString(".*")
		case "*":
			re.WriteString("[^/]*")
		default:
			name := text[m[2]:m[3]]
			if !axisRE.MatchString(name) || slices.Contains(p.names, name) {
				return p, fmt.Errorf("%q: {%s} is no name of an axis, or stands there twice: write {config} or {concurrency}", text, name)
			}
			p.names = append(p.names, name)
			fmt.Fprintf(&re, "(?P<%s>[^/]+?)", name)
		}
	}
	re.WriteString(regexp.QuoteMeta(text[at:]))
	if len(p.names) == 0 {
		return p, fmt.Errorf("%q has no part such as {config} or {concurrency} in it", text)
	}
	var err error
	if p.re, err = regexp.Compile("^" + re.String() + "$"); err != nil { // it is too long, or no UTF-8
		return p, fmt.Errorf("%.80q: %w", text, err)
	}
	return p, nil
}

var axisRE = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// match returns what a path tells.
func (p pattern) match(path string) (perf.Setting, error) {
	told := perf.Setting{}
	if p.re == nil {
		return told, nil
	}
	m := p.re.FindStringSubmatch(path)
	if m == nil {
		return nil, fmt.Errorf("%s does not fit the path %q", path, p.text)
	}
	known := fields()
	for _, name := range p.names {
		value := m[p.re.SubexpIndex(name)]
		told[name] = value
		if slices.Contains(known, name) {
			if err := checkField(name, value); err != nil {
				return nil, fmt.Errorf("%s: {%s}: %w", path, name, err)
			}
		}
	}
	return told, nil
}

// locate gives each of several cells its coordinates: what the pattern found,
// the configuration, trial and load that the report tells, and ISL and OSL if
// all tell them and they differ. Cells that are alike in all of these are told
// apart by their source: nothing says that they are trials of one setting.
func locate(env *steps.Env, cells []cell, found []string) {
	if len(cells) == 1 && len(found) == 0 {
		return
	}
	names := slices.Clone(found)
	for _, name := range []string{"config", "concurrency", "request_rate", "trial"} {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range []string{"isl", "osl"} {
		untold := slices.ContainsFunc(cells, func(c cell) bool { return c.told[name] == "" })
		differ := slices.ContainsFunc(cells, func(c cell) bool { return c.told[name] != cells[0].told[name] })
		if !slices.Contains(names, name) && !untold && differ {
			names = append(names, name)
		}
	}
	alike := map[string]int{}
	for i := range cells {
		c := &cells[i]
		for _, name := range names {
			value := c.byPath[name]
			if value == "" {
				value = c.told[name]
			}
			if value != "" {
				c.coords = append(c.coords, perf.Coord{Axis: name, Value: value})
			}
		}
		alike[perf.CellID(c.coords)]++
	}
	doubtful := 0
	for i := range cells {
		c := &cells[i]
		if alike[perf.CellID(c.coords)] < 2 {
			continue
		}
		doubtful++
		source := c.path
		if c.part > 0 {
			source += ":" + strconv.Itoa(c.part)
		}
		c.coords = append(c.coords, perf.Coord{Axis: "source", Value: source})
	}
	if doubtful > 0 {
		env.Doubt("cells_alike: %d of %d reports have coordinates in common, and are told apart by source; if some are trials of one setting, let path say so: {trial}", doubtful, len(cells))
	}
}
