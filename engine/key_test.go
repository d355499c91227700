package engine

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

var update = flag.Bool("update", false, "write the golden files")

// everything has a parameter of each type.
type everything struct {
	B     bool              `json:"b" key:"yes" doc:"x"`
	I     int               `json:"i" key:"yes" doc:"x"`
	F     float64           `json:"f" key:"yes" doc:"x"`
	S     string            `json:"s" key:"yes" doc:"x"`
	D     steps.Duration    `json:"d" key:"yes" doc:"x"`
	V     steps.Value       `json:"v" key:"yes" doc:"x"`
	P     *int              `json:"p" key:"yes" doc:"x"`
	L     []string          `json:"l" key:"yes" doc:"x"`
	M     map[string]int    `json:"m" key:"yes" doc:"x"`
	In    inner             `json:"in" key:"yes" doc:"x"`
	Opt   *inner            `json:"opt" key:"yes" doc:"x"`
	List  []inner           `json:"list" key:"yes" doc:"x"`
	Named map[string]inner  `json:"named" key:"yes" doc:"x"`
	Files []steps.File      `json:"files" key:"yes" doc:"x"`
	Token steps.EnvName     `json:"token" key:"yes" doc:"x"`
	URL   string            `json:"url" key:"no" doc:"x"`
	Env   map[string]string `json:"env" key:"yes" doc:"x"`
}

type inner struct {
	A string `json:"a" key:"yes" doc:"x"`
	N string `json:"n" key:"no" doc:"x"`
}

// golden is a plan of which the manifests are fixed: a change of one re-keys
// all that was ever measured, and must be wanted.
func golden(t testing.TB) (*pipelines.Plan, []given) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/data", []byte("content"), 0o666); err != nil {
		t.Fatal(err)
	}
	one := 1
	kind := &steps.Kind{Name: "k", Version: 3}
	cell := func(kv ...string) (c []steps.Coord) {
		for i := 0; i < len(kv); i += 2 {
			c = append(c, steps.Coord{Axis: kv[i], Value: kv[i+1]})
		}
		return c
	}
	d := func(s string) digest.Digest { return digest.Of([]byte(s)) }
	plan := &pipelines.Plan{Dir: dir, Nodes: []pipelines.Node{
		{ID: 0, Kind: kind, Params: &everything{}},
		{ID: 1, Kind: kind, Params: &everything{B: true, I: -5, F: 2.5, S: "a\nb \"c\" é", D: steps.Duration(90 * time.Second),
			V: steps.Value{V: map[string]any{"z": 1, "a": []any{"x", nil}}}, P: &one, L: []string{"x", "y"}, M: map[string]int{"b": 2, "a": 1},
			In: inner{A: "in", N: "not"}, Opt: &inner{A: "opt"}, List: []inner{{A: "1"}, {A: "2"}}, Named: map[string]inner{"k y": {A: "v"}},
			Files: []steps.File{"data"}, Token: "SECRET", URL: "http://no", Env: map[string]string{"A": "1"}}},
		{ID: 2, Kind: kind, Params: &inner{}, Cell: cell("n", "4", "config", "fp8-tp8")},
		{ID: 3, Kind: kind, Params: &inner{}, Cell: cell("n", "16", "config", "fp8-tp8")},
		{ID: 4, Kind: kind, Params: &inner{}, Cell: cell("n", "odd, one", "config", "")},
		{ID: 5, Kind: kind, Params: &inner{A: "joins"}, Deps: []pipelines.Edge{
			{Port: "cells", From: 3}, {Port: "cells", From: 4}, {Port: "cells", From: 2}, {Port: "serve", From: 0}, {Port: "setup", From: 1}}},
	}}
	gives := []given{
		0: {known: true, hold: d("hold")},
		1: {known: true, artifacts: []steps.Artifact{{Name: "z.json", Digest: d("z")}, {Name: "gap", Digest: d("g")}, {Name: "stamp", Digest: d("s"), Volatile: true}}},
		2: {known: true, artifacts: []steps.Artifact{{Name: "m.json", Digest: d("2")}}},
		3: {known: true, gap: "partial", why: "half of it", artifacts: []steps.Artifact{{Name: "m.json", Digest: d("3")}}},
		4: {known: true},
	}
	return plan, gives
}

func TestGoldenManifests(t *testing.T) {
	plan, gives := golden(t)
	k := newKeyer(plan)
	var b strings.Builder
	for _, id := range []int{0, 1, 5} {
		n := &plan.Nodes[id]
		text, err := k.manifest(n, k.feeds(n, func(i pipelines.NodeID) *given { return &gives[i] }))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "key %s\n%s\n", keyOf(text), text)
	}
	const path = "testdata/manifests.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "manifests (a change re-keys everything)", b.String(), string(golden))
}

// The order of steps and axes, names and places are in no key.
func TestKeyIgnores(t *testing.T) {
	plan, gives := golden(t)
	key := func(n *pipelines.Node, give func(pipelines.NodeID) *given) string {
		k := newKeyer(plan)
		text, err := k.manifest(n, k.feeds(n, give))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	give := func(i pipelines.NodeID) *given { return &gives[i] }
	n := &plan.Nodes[5]
	before := key(n, give)
	n.Name, n.Cell = "renamed", plan.Nodes[2].Cell
	n.Deps[0], n.Deps[2] = n.Deps[2], n.Deps[0]
	for i := 2; i <= 4; i++ {
		c := plan.Nodes[i].Cell
		c[0], c[1] = c[1], c[0]
	}
	gives[1].doubts = []string{"doubt"}
	gives[1].artifacts[2].Digest = digest.Of([]byte("another stamp"))
	n.Params.(*inner).N = "not in the key"
	want(t, "manifest", key(n, give), before)
}

// Numbers are in the order of their values, and before text.
func TestCellOrder(t *testing.T) {
	last := ""
	for _, v := range []string{"-10", "-2", "0", "0.5", "1", "2", "10", "1e3", "a", "b"} {
		got := cellTextOf([]steps.Coord{{Axis: "n", Value: v}}).order
		if got <= last {
			t.Errorf("%s does not come after what is before it", v)
		}
		last = got
	}
}

// FuzzManifest: different inputs never print the same text.
func FuzzManifest(f *testing.F) {
	f.Add("p", "a", "1", "x", "", "p", "a", "1", "x", "")
	f.Add("p", "a", "1", "hold", "", "p", "a", "1", "x", "gap")
	f.Add("in", "a=b", "c,d", "gap", "failed", "in", "a", "b=c,d", "gap", "failed")
	f.Add("p", "a", "1\nin p - x", "x", "", "p", "a", "1", "x", "y\nz")
	f.Add("p", "", "-", "empty", "", "p", "", "", "", "")
	f.Fuzz(func(t *testing.T, port1, axis1, value1, name1, why1, port2, axis2, value2, name2, why2 string) {
		text := func(port, axis, value, name, why string) string {
			g := given{known: true}
			if why != "" {
				g.gap, g.why = "failed", why
			}
			if name != "" {
				g.artifacts = []steps.Artifact{{Name: name, Digest: digest.Of([]byte("x"))}}
			}
			var cell []steps.Coord
			if axis != "" || value != "" {
				cell = []steps.Coord{{Axis: axis, Value: value}}
			}
			return string(appendGiven(nil, port, cellTextOf(cell).token, &g))
		}
		same := port1 == port2 && axis1 == axis2 && value1 == value2 && name1 == name2 && why1 == why2
		a, b := text(port1, axis1, value1, name1, why1), text(port2, axis2, value2, name2, why2)
		if (a == b) != same {
			t.Errorf("%q\nand\n%q", a, b)
		}
		lines := 0
		if why1 != "" {
			lines++
		}
		if name1 != "" {
			lines++
		}
		if strings.Count(a, "\n") != max(1, lines) {
			t.Errorf("a value broke a line: %q", a)
		}
	})
}

func TestNotANumberIsAnError(t *testing.T) {
	plan, _ := golden(t)
	var zero float64
	plan.Nodes[0].Params.(*everything).F = 1 / zero
	k := newKeyer(plan)
	if _, err := k.manifest(&plan.Nodes[0], nil); err == nil || !strings.Contains(err.Error(), "parameter f") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkManifest(b *testing.B) {
	plan, gives := golden(b)
	k := newKeyer(plan)
	give := func(i pipelines.NodeID) *given { return &gives[i] }
	for b.Loop() {
		n := &plan.Nodes[1]
		text, err := k.manifest(n, k.feeds(n, give))
		if err != nil {
			b.Fatal(err)
		}
		keyOf(text)
	}
}
