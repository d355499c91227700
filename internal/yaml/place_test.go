package yaml

import (
	"strings"
	"testing"
)

// TestPlace finds the mark @ in scalars of every style.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ what, src string }{
		{"plain", "a: one @ two"},
		{"plain after wide characters", "äöü: é漢 @"},
		{"plain on several lines", "a: one\n  two\n  three @ four"},
		{"single quotes", "a: 'it''s ''q'' @'"},
		{"single quotes on two lines", "a: 'one\n   two '' @'"},
		{"double quotes", `a: "t\t\u00e9\x41\"\\ @"`},
		{"double quotes, folded", "a: \"one \\\n   two\\n @\""},
		{"literal", "a: |\n  one\n\n    two\n  @ three\n"},
		{"literal with indentation and chomping", "a: |2- # note\n    one\n  @\n"},
		{"folded", "a: >\n  one\n  two\n\n  three @\n"},
		{"folded in a list", "- x\n- >-\n   one\n\n   @\n"},
		{"in flow", "{a: [x, 'y @']}"},
		{"key", "x: {'a @': 1}"},
		{"CRLF", "a: |\r\n  one\r\n  @\r\n"},
	} {
		n, err := Parse("f", []byte(c.src))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		before, _, _ := strings.Cut(strings.ReplaceAll(c.src, "\r", ""), "@")
		line := strings.Count(before, "\n") + 1
		col := len([]rune(before[strings.LastIndex(before, "\n")+1:])) + 1
		found := marked(n)
		if found == nil {
			t.Errorf("%s: no mark in %v", c.what, n.Value())
			continue
		}
		if got := found.Place(strings.Index(found.Text, "@")); got.Line != line || got.Col != col {
			t.Errorf("%s: got %v, want %d:%d", c.what, got, line, col)
		}
	}
}

func marked(n *Node) *Node {
	if n.Kind == String && strings.Contains(n.Text, "@") {
		return n
	}
	for _, e := range n.List {
		if m := marked(e); m != nil {
			return m
		}
	}
	for _, p := range n.Map {
		if m := marked(p.Key); m != nil {
			return m
		}
		if m := marked(p.Value); m != nil {
			return m
		}
	}
	return nil
}

func TestSnippet(t *testing.T) {
	_, err := Parse("dir/f.yaml", []byte("a:\n  b: 017 # "+strings.Repeat("x", 300)+"\n  c: [1, 08]\n"))
	want := `dir/f.yaml:2:6: 017 is octal to some YAML readers and decimal to others; write it without the leading zero, as 0o17 if octal is meant, or quote it if it is text
      b: 017 # xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
         ^
dir/f.yaml:3:10: 08 is octal to some YAML readers and decimal to others; write it without the leading zero, or quote it if it is text
      c: [1, 08]
             ^`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestMerged(t *testing.T) {
	base, err := Parse("base", []byte("a: 1\nm: {x: 1, l: [1, 2]}\nz: 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	over, err := Parse("over", []byte("m: {l: [3], y: 2}\nz: {n: 1}\nnew: 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := over.Merged(base)
	if got := strings.Join(m.Keys(), " ") + " / " + strings.Join(m.Get("m").Keys(), " "); got != "a m z new / x l y" {
		t.Error(got)
	}
	if got := m.Get("m").Get("l"); got.Pos.File != "over" || len(got.List) != 1 {
		t.Errorf("l is %v of %s", got.Value(), got.Pos)
	}
	if got := m.Get("m").Get("x").Pos; got != (Pos{"base", 2, 8}) {
		t.Errorf("x is of %s", got)
	}
	if len(base.Map) != 3 || len(base.Get("m").Map) != 2 {
		t.Error("Merged changed its base")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"concurrency", "trial", "isl", "osl"}
	for name, want := range map[string]string{
		"concurency": "did you mean concurrency?",
		"trail":      "did you mean trial?",
		"osll":       "did you mean osl?",
		"something":  "there are concurrency, trial, isl, osl",
		"x":          "there are concurrency, trial, isl, osl",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%s) = %q, want %q", name, got, want)
		}
	}
	if got := Nearest("x", nil); got != "" {
		t.Error(got)
	}
}
