package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"pipeline/engine/store"
	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A manifest is the text of all that decides what a node writes, one fact a
// line:
//
//	pipeline manifest 1
//	kind cell_run 3
//	with concurrency 64
//	with endpoint.kind "sim"
//	in setup - identity.json 9f86d081…
//	in cells concurrency=4,trial=1 gap failed "connection refused"
//
// The key is its digest. The text is kept in the store, and explain prints
// and compares it: what is explained is what was hashed. Different questions
// never have the same text. Values are canonical JSON, so no value holds a
// line break, and names that could be taken for something else are quoted.
//
// Not in it: the names of campaign, step and node, the axes of the node's own
// cell, paths, parameters with key:"no", volatile artifacts, doubts.
const manifestSchema = "pipeline manifest 1\n"

// A given is what a settled node gives to those below it.
type given struct {
	known     bool // false: it will run, so nothing is known yet
	artifacts []steps.Artifact
	gap       string // class of a gap: "" if there is none, else failed, partial or skipped
	why       string // text of the gap
	hold      digest.Digest
	doubts    []string
}

func givenOf(r *store.Record) given {
	g := given{known: true, artifacts: r.Artifacts, doubts: r.Doubts}
	if r.Status != store.Complete {
		g.gap, g.why = string(r.Status), r.Reason
	}
	return g
}

// gapText is what a step reads in Input.Gap.
func (g *given) gapText() string {
	if g.gap == "" {
		return ""
	}
	return g.gap + ": " + g.why
}

// same reports whether below a node nobody could tell g from h.
func (g *given) same(h *given) bool {
	if g.known != h.known || g.gap != h.gap || g.why != h.why || g.hold != h.hold {
		return false
	}
	a, b := g.artifacts, h.artifacts
	if len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) {
		return true // of one record
	}
	return slices.EqualFunc(lasting(a), lasting(b), func(a, b steps.Artifact) bool {
		return a.Name == b.Name && a.Digest == b.Digest
	})
}

// lasting returns the artifacts that are part of keys, by name. Most often
// they are the first of all.
func lasting(all []steps.Artifact) []steps.Artifact {
	n := 0
	for n < len(all) && !all[n].Volatile && (n == 0 || all[n-1].Name < all[n].Name) {
		n++
	}
	if !slices.ContainsFunc(all[n:], func(a steps.Artifact) bool { return !a.Volatile }) {
		return all[:n:n]
	}
	var out []steps.Artifact
	for _, a := range all {
		if !a.Volatile {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b steps.Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// A keyer writes manifests. It belongs to one goroutine.
type keyer struct {
	plan   *pipelines.Plan
	params *encoder
	cells  []cellText // by NodeID, made when first needed
	buf    []byte
}

// A cellText is a cell as manifests write it, and as they order it.
type cellText struct{ token, order string }

func newKeyer(plan *pipelines.Plan) *keyer {
	return &keyer{plan: plan, params: newEncoder(plan.Dir), cells: make([]cellText, len(plan.Nodes))}
}

// A feed is one edge with what came along it.
type feed struct {
	edge  pipelines.Edge
	given *given
}

// feeds returns what n's edges bring, by port and then in the canonical order
// of cells: by axis name, numbers before text and by value. It depends on
// nothing that is not in the manifest, so a step that reads its inputs in this
// order writes the same for the same manifest.
func (k *keyer) feeds(n *pipelines.Node, of func(pipelines.NodeID) *given) []feed {
	out := make([]feed, len(n.Deps))
	for i, e := range n.Deps {
		out[i] = feed{e, of(e.From)}
	}
	if !slices.IsSortedFunc(out, k.compare) {
		slices.SortFunc(out, k.compare)
	}
	return out
}

func (k *keyer) compare(a, b feed) int {
	if c := cmp.Compare(a.edge.Port, b.edge.Port); c != 0 {
		return c
	}
	x, y := k.cell(a.edge.From), k.cell(b.edge.From)
	if c := cmp.Compare(x.order, y.order); c != 0 {
		return c
	}
	if c := cmp.Compare(x.token, y.token); c != 0 {
		return c
	}
	// Two steps brought the same cell to one port: what they brought decides.
	return bytes.Compare(appendGiven(nil, "", "", a.given), appendGiven(nil, "", "", b.given))
}

func (k *keyer) cell(id pipelines.NodeID) *cellText {
	c := &k.cells[id]
	if c.token == "" {
		*c = cellTextOf(k.plan.Nodes[id].Cell)
	}
	return c
}

func cellTextOf(cell []steps.Coord) cellText {
	if len(cell) == 0 {
		return cellText{token: "-"}
	}
	byAxis := func(a, b steps.Coord) int { return cmp.Compare(a.Axis, b.Axis) }
	if !slices.IsSortedFunc(cell, byAxis) {
		cell = slices.Clone(cell)
		slices.SortFunc(cell, byAxis)
	}
	var token, order []byte
	for i, c := range cell {
		if i > 0 {
			token = append(token, ',')
		}
		token = appendToken(token, c.Axis)
		token = append(token, '=')
		token = appendToken(token, c.Value)
		order = append(append(order, c.Axis...), 0)
		order = appendOrder(order, c.Value)
	}
	return cellText{string(token), string(order)}
}

// appendOrder writes v so that byte order is: numbers by value, then text.
func appendOrder(dst []byte, v string) []byte {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) {
		return append(append(append(dst, 'b'), v...), 0)
	}
	bits := math.Float64bits(f)
	if f < 0 || (f == 0 && math.Signbit(f)) {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	dst = append(dst, 'a')
	for shift := 56; shift >= 0; shift -= 8 {
		dst = append(dst, byte(bits>>shift))
	}
	return append(dst, 0)
}

// manifest returns the text for n, whose inputs are all known. The bytes are
// valid until the next call.
func (k *keyer) manifest(n *pipelines.Node, in []feed) ([]byte, error) {
	b := append(k.buf[:0], manifestSchema...)
	b = append(append(b, "kind "...), n.Kind.Name...)
	b = strconv.AppendInt(append(b, ' '), int64(n.Kind.Version), 10)
	b = append(b, '\n')
	b, err := k.params.append(b, n.Params)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", n.Pos, n.Name, err)
	}
	nth := 1
	for i, f := range in {
		cell := k.cell(f.edge.From).token
		if i > 0 && in[i-1].edge.Port == f.edge.Port && k.cell(in[i-1].edge.From).token == cell {
			nth++
			cell += "#" + strconv.Itoa(nth)
		} else {
			nth = 1
		}
		b = appendGiven(b, f.edge.Port, cell, f.given)
	}
	k.buf = b
	return b, nil
}

// appendGiven writes the lines of one input. An input always has at least one.
func appendGiven(b []byte, port, cell string, g *given) []byte {
	line := func() {
		b = append(b, "in "...)
		b = appendToken(b, port)
		b = append(append(append(b, ' '), cell...), ' ')
	}
	if !g.hold.IsZero() {
		line()
		b = appendHex(append(b, "hold "...), g.hold)
		return append(b, '\n')
	}
	if g.gap != "" {
		line()
		b = append(append(append(b, "gap "...), g.gap...), ' ')
		b = appendQuoted(b, g.why)
		b = append(b, '\n')
	}
	arts := lasting(g.artifacts)
	for _, a := range arts {
		line()
		switch a.Name {
		case "hold", "gap", "empty":
			b = appendQuoted(b, a.Name)
		default:
			b = appendToken(b, a.Name)
		}
		b = appendHex(append(b, ' '), a.Digest)
		b = append(b, '\n')
	}
	if len(arts) == 0 && g.gap == "" {
		line()
		b = append(b, "empty\n"...)
	}
	return b
}

func appendHex(b []byte, d digest.Digest) []byte {
	const digits = "0123456789abcdef"
	for _, c := range d {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// appendToken writes s as it is if it is made of characters that mean nothing
// in a manifest, and as a JSON string if not.
func appendToken(b []byte, s string) []byte {
	if s == "" || s == "-" {
		return appendQuoted(b, s)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte("-_./:+@%", c) < 0 {
			return appendQuoted(b, s)
		}
	}
	return append(b, s...)
}

// appendQuoted writes s as a JSON string. Bytes that are no UTF-8 cannot come
// from a spec; in an error text they are escaped, so that none are confused.
func appendQuoted(b []byte, s string) []byte {
	q, err := digest.AppendCanonical(b, s)
	if err != nil {
		q, _ = json.Marshal(strconv.QuoteToASCII(s))
		return append(append(b, "bytes:"...), q...)
	}
	return q
}

func keyOf(manifest []byte) store.Key { return store.Key(digest.Of(manifest)) }
