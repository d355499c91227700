package yaml

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type wait time.Duration

func (w *wait) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*w = wait(d)
	return err
}

type inner struct {
	X int     `yaml:"x"`
	F float64 `yaml:"f,omitempty"`
}

type outer struct {
	Name    string           `yaml:"name"`
	On      bool             `yaml:"on"`
	Small   int8             `yaml:"small"`
	Inner   inner            `yaml:"inner"`
	Pointer *inner           `yaml:"pointer"`
	List    []inner          `yaml:"list"`
	Map     map[string]inner `yaml:"map"`
	Any     any              `yaml:"any"`
	Wait    wait             `yaml:"wait"`
	Node    *Node            `yaml:"node"`
	Skipped int
}

func TestUnmarshal(t *testing.T) {
	var got outer
	err := Unmarshal("f", []byte(`
name: yes
on: true
small: -128
inner: {x: 1e3, f: 2}
pointer: {x: 2}
list: [{x: 1}, {f: 0.5}]
map: {a: {x: 1}, b: {}}
any: {l: [1, 2.5, a, true, ~]}
wait: 1m30s
node: {k: v}
`), &got)
	if err != nil {
		t.Fatal(err)
	}
	if got.Node == nil || got.Node.Get("k").Pos != (Pos{"f", 11, 11}) {
		t.Errorf("node: %+v", got.Node)
	}
	got.Node = nil
	want := outer{Name: "yes", On: true, Small: -128, Inner: inner{1000, 2}, Pointer: &inner{X: 2},
		List: []inner{{X: 1}, {F: 0.5}}, Map: map[string]inner{"a": {X: 1}, "b": {}},
		Any: map[string]any{"l": []any{int64(1), 2.5, "a", true, nil}}, Wait: wait(90 * time.Second)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestUnmarshalErrors: all faults, each time the same (go-yaml itself:
// the decoder of go-yaml reports one unknown field, a random one).
func TestUnmarshalErrors(t *testing.T) {
	src := []byte(`
nmae: a
name: 1.10
on: yes
small: 200
inner: {x: 1.5, y: 2}
pointer: []
list: {x: 1}
map: {a: {x: "64"}}
wait: 90
Skipped: 1
`)
	want := []string{
		`2:1 unknown field "nmae"; did you mean name?`,
		`3:7 name: this is a number 1.10, want text; put it in quotes`,
		`4:5 on: this is text "yes", want true or false; write true or false`,
		`5:8 small: 200 is too large`,
		`6:12 inner.x: this is a number 1.5, want an integer`,
		`6:17 inner: unknown field "y"; there are x, f`,
		`7:10 pointer: this is a list, want a map`,
		`8:7 list: this is a map, want a list`,
		`9:14 map.a.x: this is text "64", want an integer; drop the quotes`,
		`10:7 wait: this is an integer 90, want text; put it in quotes`,
		`11:1 unknown field "Skipped"; there are name, on, small, inner, pointer, list, map, any, wait, node`,
	}
	for range 10 {
		var into outer
		err := Unmarshal("f", src, &into)
		var got []string
		for _, e := range err.(Errors) {
			line, _, _ := strings.Cut(e.Error(), "\n")
			got = append(got, strings.Replace(strings.TrimPrefix(line, "f:"), ": ", " ", 1))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestUnmarshalEmpty(t *testing.T) {
	into := outer{Name: "kept"}
	if err := Unmarshal("f", nil, &into); err != nil || into.Name != "kept" {
		t.Errorf("%v %+v", err, into)
	}
	if err := Unmarshal("f", []byte("[1]"), &into); err == nil || !strings.Contains(err.Error(), "want a map") {
		t.Error(err)
	}
	var list []int
	if err := Unmarshal("f", []byte("[1, 2]"), &list); err != nil || fmt.Sprint(list) != "[1 2]" {
		t.Error(err, list)
	}
}
