package pyjson

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func one(t *testing.T, text string) Object {
	t.Helper()
	objects, err := Read(strings.NewReader(text))
	if err != nil || len(objects) != 1 {
		t.Fatalf("%s: %d objects, %v", text, len(objects), err)
	}
	return objects[0]
}

func TestFields(t *testing.T) {
	o := one(t, `{"a":1.5,"nan":NaN,"inf":-Infinity,"none":null,"text":"NaN \"Infinity\"","rate":"inf","n":3,"yes":true,"list":[1,NaN,2],"deep":{"down":{"x":7}},"many":[{"y":1},{"y":2}]}`)
	if f := o.Float("a"); f == nil || *f != 1.5 {
		t.Errorf("a: %v", f)
	}
	for _, name := range []string{"nan", "inf", "none", "rate", "not there"} {
		if f := o.Float(name); f != nil {
			t.Errorf("%s: %v", name, *f)
		}
	}
	if got := o.Text("text"); got != `NaN "Infinity"` {
		t.Errorf("text: %q", got)
	}
	if n, ok := o.Count("n"); !ok || n != 3 {
		t.Errorf("n: %v %v", n, ok)
	}
	if yes, ok := o.Bool("yes"); !yes || !ok {
		t.Errorf("yes: %v %v", yes, ok)
	}
	if list := o.Floats("list"); len(list) != 3 || list[0] != 1 || !math.IsNaN(list[1]) || list[2] != 2 {
		t.Errorf("list: %v", list)
	}
	if f := o.Object("deep", "down").Float("x"); f == nil || *f != 7 {
		t.Errorf("deep.down.x: %v", f)
	}
	if !o.Object("deep", "up").IsZero() || o.Object("deep", "up", "x").Float("y") != nil {
		t.Error("deep.up is there")
	}
	if many := o.Objects("many"); len(many) != 2 || *many[1].Float("y") != 2 {
		t.Errorf("many: %v", many)
	}
	if err := o.Err(); err != nil {
		t.Error(err)
	}
	if (Object{}).Err() != nil || (Object{}).Float("x") != nil {
		t.Error("the zero object has something")
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ask  func(Object)
		want string
	}{
		"number":  {`{"a":{"b":"fast"}}`, func(o Object) { o.Object("a").Float("b") }, `field a.b: "fast" is no number`},
		"huge":    {`{"a":1e999}`, func(o Object) { o.Float("a") }, "field a: 1e999 is no number"},
		"count":   {`{"a":-1}`, func(o Object) { o.Count("a") }, "field a: -1 is no count"},
		"object":  {`{"a":[]}`, func(o Object) { o.Object("a") }, "field a: a list, want an object"},
		"list":    {`{"a":{}}`, func(o Object) { o.Floats("a") }, "field a: a JSON object does not fit"},
		"element": {`{"a":{"b":[1]}}`, func(o Object) { o.Object("a").Objects("b") }, "field a.b[0]: a number, want an object"},
		"truth":   {`{"a":1}`, func(o Object) { o.Bool("a") }, "field a: 1 is neither true nor false"},
		"first":   {`{"a":"x","b":"y"}`, func(o Object) { o.Float("b"); o.Float("a") }, `field b: "y" is no number`},
	} {
		o := one(t, c.text)
		c.ask(o)
		if err := o.Err(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]int{`{}`: 1, "{}\n{}": 2, `[{},{}]`: 2, "{} {}[{}]": 3} {
		if objects, err := Read(strings.NewReader(text)); err != nil || len(objects) != want {
			t.Errorf("%s: %d objects, %v", text, len(objects), err)
		}
	}
	for text, want := range map[string]string{
		"": "it holds no JSON object", "[]": "it holds no JSON object", "{": "JSON value 1 is cut off", `{"a":1}x`: "JSON value 2 is none from byte 8 on",
		"null": "JSON value 1: it is null, not an object", "[1]": "field [0]: it is a number, not an object", `{"a":"` + "x": "JSON value 1 is cut off",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// What is read has no fault before it is asked, and names its fields.
func FuzzRead(f *testing.F) {
	for _, text := range []string{`{"a":NaN,"b":"NaN","c":[Infinity]}`, `{"a":"\`, `[{"a":{}}]`, "{}{}", `{"a":-Infinity}`, "NaN", `"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		objects, err := Read(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.Err() != nil || !slices.IsSorted(o.Names()) {
				t.Fatal(o.Err(), o.Names())
			}
			for _, name := range o.Names() {
				o.Float(name)
				o.Text(name)
				o.Object(name).Float("x")
				o.Objects(name)
				o.FloatLists(name)
			}
		}
	})
}
