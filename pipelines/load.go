package pipelines

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
)

// A Campaign is a spec as it is written, its bases merged in: read, but not
// yet checked against any kinds.
type Campaign struct {
	Name    string
	Focus   string // latency, throughput or mixed
	Labels  map[string]string
	File    string
	Dir     string        // the folder of File
	SpecSum digest.Digest // of the bytes of the spec and of its bases

	root   *yaml.Node
	params *yaml.Node // a Map
	steps  []*declaration
	errs   yaml.Errors // faults of form, reported by Plan with all others
}

const maxBases = 16 // specs that extend one another

// Load reads the spec at path, and the bases it extends, by the function read;
// the path of a base is relative to the folder of the spec that names it.
//
// The error is about what cannot be read at all: a file, the YAML, a cycle of
// bases. All other faults are left to Plan, which reports them together. The
// paths in a base, as all paths, are relative to the folder of the spec.
func Load(read func(path string) ([]byte, error), path string) (*Campaign, error) {
	l := loading{read: read}
	root, err := l.load(path, nil)
	if err != nil {
		return nil, err
	}
	c := &Campaign{File: path, Dir: filepath.Dir(path), SpecSum: l.sum(), root: root}
	c.form()
	return c, nil
}

type loading struct {
	read  func(string) ([]byte, error)
	sums  []digest.Digest
	chain []string
}

func (l *loading) sum() digest.Digest {
	if len(l.sums) == 1 {
		return l.sums[0]
	}
	var all []byte
	for _, s := range l.sums {
		all = append(all, s[:]...)
	}
	return digest.Of(all)
}

// load reads one spec and merges it over its base. from is what named it.
func (l *loading) load(path string, from *yaml.Node) (*yaml.Node, error) {
	name := filepath.Clean(path)
	if slices.Contains(l.chain, name) {
		chain := strings.Join(append(l.chain, name), " -> ")
		return nil, yaml.Errors{from.Errorf("extends", "remove one of them", "specs extend one another in a circle: %s", chain)}
	}
	if len(l.chain) >= maxBases {
		return nil, yaml.Errors{from.Errorf("extends", "", "more than %d specs extend one another", maxBases)}
	}
	l.chain = append(l.chain, name)
	src, err := l.read(path)
	if err != nil {
		err = fmt.Errorf("read spec %s: %w", path, err)
		if from != nil {
			e := from.Errorf("extends", "the path is relative to this file", "%v", err)
			e.Err = err
			return nil, yaml.Errors{e}
		}
		return nil, err
	}
	l.sums = append(l.sums, digest.Of(src))
	root, err := yaml.Parse(path, src)
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.Map {
		return nil, yaml.Errors{root.Errorf("", "see: pipeline new NAME", "a spec is a map that begins with campaign:, this is %s", root.Describe())}
	}
	base := root.Get("extends")
	if base == nil {
		return root, nil
	}
	if base.Kind != yaml.String || base.Text == "" {
		return nil, yaml.Errors{base.Errorf("extends", "", "this is %s, want the path of a spec", base.Describe())}
	}
	under, err := l.load(filepath.Join(filepath.Dir(path), filepath.FromSlash(base.Text)), base)
	if err != nil {
		return nil, err
	}
	return mergeSpecs(root, under), nil
}

// mergeSpecs lays a spec over its base: maps merge key by key, steps by id,
// and anything else of the spec replaces what the base has.
func mergeSpecs(over, base *yaml.Node) *yaml.Node {
	merged := over.Merged(base)
	mine, theirs := over.Get("steps"), base.Get("steps")
	if mine == nil || theirs == nil || mine.Kind != yaml.List || theirs.Kind != yaml.List {
		return merged
	}
	steps := *mine
	steps.List = slices.Clone(theirs.List)
	for _, s := range mine.List {
		id := s.Get("id")
		i := slices.IndexFunc(theirs.List, func(b *yaml.Node) bool {
			bid := b.Get("id")
			return id != nil && bid != nil && id.Kind == yaml.String && bid.Kind == yaml.String && id.Text == bid.Text
		})
		if i < 0 {
			steps.List = append(steps.List, s)
			continue
		}
		steps.List[i] = s.Merged(steps.List[i])
	}
	for i, p := range merged.Map {
		if p.Key.Text == "steps" {
			merged.Map[i].Value = &steps
		}
	}
	return merged
}

// A declaration is one entry of steps: as it is written.
type declaration struct {
	node    *yaml.Node
	id      string
	idNode  *yaml.Node
	uses    *yaml.Node
	with    *yaml.Node
	wires   []wireText
	after   []*yaml.Node // ids
	matrix  *yaml.Node
	when    *yaml.Node
	timeout *yaml.Node
	retry   *yaml.Node
	maxAge  *yaml.Node
	pools   *yaml.Node
	phases  []*yaml.Node // names
}

// path names a part of the step in errors: steps.cells.with.
func (d *declaration) path(part string) string {
	if part == "" {
		return "steps." + d.id
	}
	return "steps." + d.id + "." + part
}

// A wireText is one port of in.
type wireText struct {
	port  *yaml.Node
	steps []*yaml.Node // ids
}

var (
	specFields = []string{"campaign", "extends", "focus", "labels", "params", "steps"}
	stepFields = []string{"id", "uses", "in", "after", "matrix", "when", "with", "timeout", "retry", "max_age", "pools", "phase"}
	focuses    = []string{"latency", "throughput", "mixed"}

	campaignRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	stepRE     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,47}$`)
	nameRE     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)
)

func (c *Campaign) fail(n *yaml.Node, path, hint, format string, a ...any) {
	c.errs = append(c.errs, n.Errorf(path, hint, format, a...))
}

// form reads the fields of the spec and of its steps.
func (c *Campaign) form() {
	for _, p := range c.root.Map {
		if !slices.Contains(specFields, p.Key.Text) {
			c.fail(p.Key, "", yaml.Nearest(p.Key.Text, specFields), "unknown field %q", p.Key.Text)
		}
	}
	if n := c.root.Get("campaign"); n == nil {
		c.fail(c.root, "campaign", "begin the spec with a line such as campaign: my-name", "the campaign has no name")
	} else if c.Name = c.text(n, "campaign"); c.Name != "" && !campaignRE.MatchString(c.Name) {
		c.fail(n, "campaign", "use letters, digits, '.', '_' and '-'", "%q is no name of a campaign", c.Name)
	}
	c.Focus = "mixed"
	if n := c.root.Get("focus"); n != nil {
		if c.Focus = c.text(n, "focus"); c.Focus != "" && !slices.Contains(focuses, c.Focus) {
			c.fail(n, "focus", yaml.Nearest(c.Focus, focuses), "%q is no focus", c.Focus)
		}
	}
	c.labels()
	c.params = c.root.Get("params")
	if c.params != nil && c.params.Kind != yaml.Map && c.params.Kind != yaml.Null {
		c.fail(c.params, "params", "", "this is %s, want a map", c.params.Describe())
	}
	if c.params == nil || c.params.Kind != yaml.Map {
		c.params = &yaml.Node{Kind: yaml.Map, Pos: c.root.Pos}
	}
	list := c.root.Get("steps")
	switch {
	case list == nil:
		c.fail(c.root, "steps", "see: pipeline new NAME", "the campaign has no steps")
	case list.Kind != yaml.List || len(list.List) == 0:
		c.fail(list, "steps", "", "this is %s, want a list of steps", list.Describe())
	default:
		for i, n := range list.List {
			c.step(i, n)
		}
	}
}

// text returns the text of a field that takes text without templates.
func (c *Campaign) text(n *yaml.Node, path string) string {
	switch {
	case n.Kind != yaml.String:
		hint := "put it in quotes"
		if n.Kind == yaml.List || n.Kind == yaml.Map || n.Kind == yaml.Null {
			hint = ""
		}
		c.fail(n, path, hint, "this is %s, want text", n.Describe())
		return ""
	case strings.Contains(n.Text, "${{"):
		c.fail(n, path, "write the value itself", "a template is not known here")
		return ""
	}
	return n.Text
}

func (c *Campaign) labels() {
	c.Labels = map[string]string{}
	n := c.root.Get("labels")
	if n == nil || n.Kind == yaml.Null {
		return
	}
	if n.Kind != yaml.Map {
		c.fail(n, "labels", "", "this is %s, want a map from name to text", n.Describe())
		return
	}
	for _, p := range n.Map {
		c.Labels[p.Key.Text] = c.text(p.Value, "labels."+p.Key.Text)
	}
}

func (c *Campaign) step(i int, n *yaml.Node) {
	where := fmt.Sprintf("steps[%d]", i)
	if n.Kind != yaml.Map {
		c.fail(n, where, "write - id: name", "this is %s, want a step", n.Describe())
		return
	}
	d := &declaration{node: n, idNode: n.Get("id"), uses: n.Get("uses"), with: n.Get("with"), matrix: n.Get("matrix"),
		when: n.Get("when"), timeout: n.Get("timeout"), retry: n.Get("retry"), maxAge: n.Get("max_age"), pools: n.Get("pools")}
	if d.idNode == nil {
		c.fail(n, where, "add id: name", "the step has no id")
		d.idNode = n
	} else if d.id = c.text(d.idNode, where+".id"); d.id != "" && !stepRE.MatchString(d.id) {
		c.fail(d.idNode, where, "use lower-case letters, digits, '_' and '-', a letter first", "%q is no id of a step", d.id)
		d.id = ""
	}
	if d.id == "" {
		d.id = fmt.Sprintf("[%d]", i)
	}
	for _, other := range c.steps {
		if other.id == d.id {
			c.fail(d.idNode, d.path("id"), "rename one of them", "line %d has a step of the same id", other.idNode.Pos.Line)
			return
		}
	}
	for _, p := range n.Map {
		if !slices.Contains(stepFields, p.Key.Text) {
			c.fail(p.Key, d.path(""), yaml.Nearest(p.Key.Text, stepFields), "unknown field %q", p.Key.Text)
		}
	}
	if d.uses == nil {
		c.fail(d.idNode, d.path("uses"), "see: pipeline steps ls", "the step names no kind")
	} else if c.text(d.uses, d.path("uses")) == "" {
		d.uses = nil
	}
	if d.with != nil && d.with.Kind == yaml.Null {
		d.with = nil
	}
	if d.with != nil && d.with.Kind != yaml.Map {
		c.fail(d.with, d.path("with"), "", "this is %s, want a map of parameters", d.with.Describe())
		d.with = nil
	}
	c.wires(d, n.Get("in"))
	d.after = c.ids(n.Get("after"), d.path("after"))
	d.phases = c.ids(n.Get("phase"), d.path("phase"))
	c.steps = append(c.steps, d)
}

func (c *Campaign) wires(d *declaration, in *yaml.Node) {
	if in == nil || in.Kind == yaml.Null {
		return
	}
	if in.Kind != yaml.Map {
		c.fail(in, d.path("in"), "write in: {port: step}", "this is %s, want a map from port to step", in.Describe())
		return
	}
	for _, p := range in.Map {
		d.wires = append(d.wires, wireText{p.Key, c.ids(p.Value, d.path("in."+p.Key.Text))})
	}
}

// ids reads a name, or a list of them.
func (c *Campaign) ids(n *yaml.Node, path string) []*yaml.Node {
	if n == nil || n.Kind == yaml.Null {
		return nil
	}
	list := []*yaml.Node{n}
	if n.Kind == yaml.List {
		list = n.List
	}
	var out []*yaml.Node
	for _, e := range list {
		if c.text(e, path) != "" {
			out = append(out, e)
		}
	}
	return out
}
