package yaml

import (
	"strings"
	"testing"
)

// FuzzYAML: no panic; every fault has a place inside of the file; what is read
// has places inside too, and no key
// stands twice.
func FuzzYAML(f *testing.F) {
	for _, src := range hostile() {
		if len(src) < 4000 {
			f.Add([]byte(src))
		}
	}
	for _, src := range []string{
		"a: 1\nb: [x, 'y', \"z\"]\nc: |\n  l\nd: >-\n  f\n", "x: &x {<<: {a: 1}}\ny: *x\n", "? a\n: b\n", "- - a\n  - b\n-\n",
		"a: ${{ x }}\nb: '${{ y }}'\n", "a:\n\tb\n", "%YAML 1.2\n---\na\n...\n", "{a, b: , ? c}", "a: !t &b c #d\n", "\"a\\\n b\": 'c\n\n d'\n",
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		n, err := Parse("f", src)
		lines := strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
		inside := func(p Pos) bool {
			return p.File == "f" && p.Line >= 1 && p.Line <= len(lines) && p.Col >= 1 && p.Col <= len([]rune(lines[p.Line-1]))+1
		}
		if err != nil {
			for _, e := range err.(Errors) {
				if !inside(e.Pos) || e.Msg == "" {
					t.Fatalf("%q: a fault outside of the file: %v", src, e)
				}
			}
			return
		}
		var check func(n *Node, depth int)
		check = func(n *Node, depth int) {
			if !inside(n.Pos) || depth > MaxDepth+1 {
				t.Fatalf("%q: %v at %v, depth %d", src, n.Describe(), n.Pos, depth)
			}
			for i := 0; i <= len(n.Text); i += 1 + len(n.Text)/8 {
				if !inside(n.Place(i)) {
					t.Fatalf("%q: %v: Place(%d) is %v", src, n.Describe(), i, n.Place(i))
				}
			}
			for _, e := range n.List {
				check(e, depth+1)
			}
			seen := map[string]bool{}
			for _, p := range n.Map {
				if p.Key.Kind != String || seen[p.Key.Text] {
					t.Fatalf("%q: key %q", src, p.Key.Text)
				}
				seen[p.Key.Text] = true
				check(p.Key, depth+1)
				check(p.Value, depth+1)
			}
		}
		if n.size < 5000 {
			check(n, 0)
		}
	})
}
