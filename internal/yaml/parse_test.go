package yaml

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// text prints the plain value of a document as JSON, or its errors, with
// places and without snippets.
func text(src string) string {
	n, err := Parse("f", []byte(src))
	if err != nil {
		var lines []string
		for _, e := range err.(Errors) {
			lines = append(lines, fmt.Sprintf("%d:%d %s", e.Pos.Line, e.Pos.Col, e.Msg))
		}
		return "error " + strings.Join(lines, " | ")
	}
	b, err := json.Marshal(n.Value())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ what, src, want string }{
		{"empty", "", "null"},
		{"comments only", "# a\n\n# b\n", "null"},
		{"a marked document", "---\na: 1\n...\n", `{"a":1}`},
		{"block", "a:\n- 1\n- b: 2\n  c: ~\n", `{"a":[1,{"b":2,"c":null}]}`},
		{"flow", "{a: [1, 2.5, x,], 'b': {}, c: []}", `{"a":[1,2.5,"x"],"b":{},"c":[]}`},
		{"CRLF", "a: 1\r\nb: |\r\n  x\r\n  y\r\n", `{"a":1,"b":"x\ny\n"}`},
		{"scalars", "[~, null, Null, true, FALSE, 0, -5, +5, 0x1F, 0o17, 1.5, -.5, 1e3, 1E-2, 5.]", "[null,null,null,true,false,0,-5,5,31,15,1.5,-0.5,1000,0.01,5]"},
		{"text", "[yes, no, on, off, y, 2026-11-23, 12:30, 1.2.3, 1e, '1', \"2\", 0b, 0xZ, ., -, NULLX, tRue]",
			`["yes","no","on","off","y","2026-11-23","12:30","1.2.3","1e","1","2","0b","0xZ",".","-","NULLX","tRue"]`},
		{"block scalars", "a: |-\n  x\n   y\nb: >\n  p\n  q\n\n  r\nc: |+\n  z\n\n", `{"a":"x\n y","b":"p q\nr\n","c":"z\n\n"}`},
		{"quotes", `["a\tb\u00e9\x41\\\"", 'it''s', "two\
  lines"]`, `["a\tbéA\\\"","it's","twolines"]`},
		{"limits of integers", "[9223372036854775807, -9223372036854775808]", "[9223372036854775807,-9223372036854775808]"},
		{"explicit keys", "? a\n: 1\n", "error 1:1 a key after ? is not supported"},

		// Faults of go-yaml v1.19.2, found by trying it.
		{"B1: alias inside an anchored map", "foo: &foo {x: 1}\nbar: &bar {<<: *foo, a: &b 3, c: [*b]}\n", `{"bar":{"a":3,"c":[3],"x":1},"foo":{"x":1}}`},
		{"B2: explicit key before a merge", "a: &a {x: 1}\nb: {x: 9, <<: *a}\nc: {<<: *a, x: 9}\n", `{"a":{"x":1},"b":{"x":9},"c":{"x":9}}`},
		{"B3: earlier maps win", "b: {<<: [{x: 1}, {x: 2, y: 3}]}\n", `{"b":{"x":1,"y":3}}`},
		{"B4: merge beside explicit keys", "a: &a {x: 1, z: 0}\nb:\n  x: 2\n  <<: [*a]\n", `{"a":{"x":1,"z":0},"b":{"x":2,"z":0}}`},
		{"B5: cyclic alias", "a: &a {b: *a}\n", "error 1:11 the alias *a stands inside of what it names"},
		{"B6: several documents", "a: 1\n---\nb: 2\n", "error 2:1 a second document begins here"},
		{"B6: after an end mark", "a: 1\n...\nb: 2\n", "error 3:2 a second document begins here"},
		{"B7: byte order mark", "\ufeffa: 1\n", "error 1:1 the file begins with a byte order mark"},
		{"B9: octal", "017", "error 1:1 017 is octal to some YAML readers and decimal to others"},
		{"B9: -007", "-007", "error 1:1 -007 is octal to some YAML readers and decimal to others"},
		{"B9: 08", "08", "error 1:1 08 is octal to some YAML readers and decimal to others"},
		{"B9: underscores", "[1_000, 0x_f, 1_0.5]", "error 1:2 1_000 is a number to some YAML readers and text to others | 1:9 0x_f is a number to some YAML readers and text to others | 1:15 1_0.5 is a number to some YAML readers and text to others"},
		{"B9: binary", "0b11", "error 1:1 0b11 is a number to some YAML readers and text to others"},
		{"B9: too large", "[18446744073709551616, 9223372036854775808, 0xFFFFFFFFFFFFFFFFF, 1e999]", "error 1:2 18446744073709551616 does not fit in 64 bits | 1:24 9223372036854775808 does not fit in 64 bits | 1:45 0xFFFFFFFFFFFFFFFFF does not fit in 64 bits | 1:66 1e999 is too large for a number"},
		{"B9: special floats", "[.nan, .inf, -.INF]", "error 1:2 .nan is not a number that can be used here | 1:8 .inf is not a number that can be used here | 1:14 -.INF is not a number that can be used here"},
		{"B10: template in a flow map", "{c: ${{ x }}}", "error 1:6 ',' or '}' must be specified"},
		{"B10: template with a colon", "c: ${{ a ? b : c }}", "error 1:4 mapping value is not allowed in this context"},
		{"B10: template cut at #", "a: ${{ filter(xs, # > 1) }}", "error 1:4 YAML ends this template in its middle, at a ' #', a ': ' or the end of a flow value"},
		{"B10: two templates, the second cut", "a: ${{ x }} ${{ y #}}", "error 1:4 YAML ends this template in its middle, at a ' #', a ': ' or the end of a flow value"},
		{"B10: template cut in a list", "[a, ${{ f(1, 2) }}]", "error 1:6 ',' or ']' must be specified"},
		{"B10: the text of a template", "a: $${{ x", `{"a":"$${{ x"}`},
		{"B13: a comment after an anchor", "a: &a\n   # note\n  b: 1\n", `{"a":{"b":1}}`},

		{"duplicate keys, all of them", "a: 1\nb: {c: 1, c: 2}\na: 3\n", `error 2:11 the key "c" stands already at line 2 | 3:1 the key "a" stands already at line 1`},
		{"keys that are not text", "1: a\ntrue: b\n~: c\n", "error 1:1 a key must be text, this is an integer | 2:1 a key must be text, this is true or false | 3:1 a key must be text, this is nothing"},
		{"a quoted << is a key", "a: {'<<': 1}", `{"a":{"\u003c\u003c":1}}`},
		{"<< of no map", "a: {<<: 1}", "error 1:9 the merge key << takes a map or a list of maps, not an integer"},
		{"<< twice", "x: &x {a: 1}\nb: {<<: *x, <<: *x}", "error 2:13 the merge key << stands twice in one map"},
		{"unknown alias", "a: &one 1\nb: *on\n", "error 2:4 there is no anchor &on above"},
		{"an anchor used before it stands", "a: *x\nb: &x 1\n", "error 1:4 there is no anchor &x above"},
		{"anchors may be named again", "[&a 1, *a, &a 2, *a]", "[1,1,2,2]"},
		{"tags", "a: !!str 1\n", "error 1:4 the tag !!str is not supported"},
		{"directives", "%YAML 1.1\n---\na: 1\n", "error 1:1 a directive is not supported"},
		{"tabs", "a:\n\tb: 1\n", "error 2:1 a tab cannot indent YAML"},
		{"tabs after spaces", "a: 1\n \tb: 2\n", "error 2:2 a tab cannot indent YAML"},
		{"tabs in text", "a: |\n  x\n  \ty\n", `{"a":"x\n\ty\n"}`},
		{"control characters", "a: b\x07c\nd: \x00\n", "error 1:5 the control character U+0007 is not allowed | 2:4 the control character U+0000 is not allowed"},
		{"bytes that are not UTF-8", "a: \xff\n", "error 1:1 the line is not valid UTF-8"},
		{"text that go-yaml lets pass", "a: }b\nb:\n  ?\nc: [:x]\nd: &e, f\ne: &f <<: {g: h}\n\"f\"\n: 1\ng: -x\n  - #b\n",
			"error 1:4 text without quotes cannot begin with } | 3:3 text without quotes cannot begin with ? | 4:5 text without quotes cannot begin with : | 5:4 \"e,\" is no name of an anchor | 6:1 a map cannot begin on the line of its key | 8:1 the key of this colon is on another line | 10:7 the YAML parser misreads this text"},
		{"a block header", "a: |--\n  x\n", `error 1:4 "|--" does not begin a block of text`},
		{"a value that is not indented", "a:\nb\nc: &x\nd\n", "error 2:1 this value is not indented more than what it belongs to | 4:1 this value is not indented more than what it belongs to"},
		{"an entry that is not indented", "-\na\n", "error 2:1 this value is not indented more than what it belongs to"},
		{"a colon without a space", "{a, b:c}", "error 1:6 this colon does not end a key"},
		{"JSON", `{"a":1,"b":[true,null]}`, `{"a":1,"b":[true,null]}`},
		{"commas", "[1,,2]", "error 1:4 a value is missing before this comma"},
		{"an empty line within text", "a: b\n\n  c\n", "error 1:4 text without quotes cannot hold an empty line"},
		{"spaces at the end of a block", "a: |-\n  x \n", "error 1:4 the last line of this block ends in spaces"},
		{"syntax", "a: [1\nb: 2\n", "error 2:1 ',' or ']' must be specified"},
	} {
		if got := text(c.src); got != c.want {
			t.Errorf("%s: %q\n got %s\nwant %s", c.what, c.src, got, c.want)
		}
	}
}

// TestHostile reads files that are made to cost much. Each has to end soon;
// the limits refuse those that would not. (That it is soon is for
// BenchmarkHostile to show.)
func TestHostile(t *testing.T) {
	for name, src := range hostile() {
		_, err := Parse("f", []byte(src))
		if err != nil && len(err.Error()) > 100_000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
		if strings.HasSuffix(name, " bomb") && (err == nil || !strings.Contains(err.Error(), "more than 100000 values when its aliases are replaced")) {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	for name, src := range hostile() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Parse("f", []byte(src))
			}
		})
	}
}

func hostile() map[string]string {
	rep := strings.Repeat
	each := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	stairs := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(rep(" ", i) + line)
		}
		return b.String()
	}
	bomb := "a0: &a0 [1,1,1,1,1,1,1,1,1]\n"
	for i := range 30 {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, rep(fmt.Sprintf("*a%d,", i), 8), i)
	}
	return map[string]string{
		"many bytes":     rep("a", MaxBytes+1),
		"many lines":     rep("\n", MaxLines),
		"wide flow list": "[" + rep("1,", 200_000) + "]",
		"wide flow map":  "{" + each("k%d: 1, ", 20_000) + "}",
		"flow lists":     rep("- ["+rep("[", 50)+rep("1,", 2400)+rep("]", 50)+"]\n", 19),
		"flow maps":      rep("- {"+each("k%d: 1,", 1230)+"}\n", 19),
		"wide block map": each("k%d: 1\n", MaxLines-1),
		"deep flow list": rep("[", MaxBytes/2),
		"deep flow map":  rep("{a: ", MaxBytes/4),
		"dashes":         rep("- ", MaxBytes/2),
		"question marks": rep("? ", MaxBytes/2),
		"deep block map": stairs(1000, "a:\n"),
		"deep list":      stairs(900, "-\n"),
		"deep and wide":  stairs(60, "a:\n") + rep(rep(" ", 60)+"- a: b\n", 7_000),
		"long text":      "a: \"" + rep("x\\n", 150_000) + "\"",
		"long folded":    "a: >\n" + rep("  "+rep("x", 50)+"\n", 9_000),
		"anchors":        rep("&a ", 150_000),
		"tags":           rep("!a ", 150_000),
		"colons":         rep("a: ", 150_000),
		"quotes":         rep("'", MaxBytes-1),
		"documents":      rep("---\na: 1\n", 4_000),
		"bad numbers":    rep("- 017\n", 9_000),
		"templates":      "a: " + rep("${{ x }} ", 50_000),
		"alias bomb":     bomb,
		"merge bomb":     "a: &a {" + each("k%d: 1,", 1000) + "}\n" + each("b%d: {<<: *a}\n", 1000),
	}
}
