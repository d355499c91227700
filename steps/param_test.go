package steps

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

type good struct {
	hidden   int
	Count    int            `json:"count" key:"yes" required:"true" min:"1" max:"10" doc:"How many."`
	Mode     string         `json:"mode" key:"no" enum:"a,b" doc:"Which."`
	Wait     Duration       `json:"wait" key:"no" min:"1s" doc:"How long."`
	Inner    goodInner      `json:"inner" key:"yes" doc:"A part."`
	List     []goodInner    `json:"list" key:"yes" doc:"Parts."`
	Rate     *float64       `json:"rate" key:"yes" min:"0" doc:"Optional."`
	Any      Value          `json:"any" key:"yes" doc:"Plain."`
	Secret   EnvName        `json:"secret" key:"no" doc:"Token."`
	File     File           `json:"file" key:"yes" doc:"Path."`
	Fields   map[string]int `json:"fields" key:"yes" doc:"By name."`
	Switched bool           `json:"switched" key:"yes" doc:"On or off."`
}

type goodInner struct {
	X int `json:"x" key:"yes" doc:"Number."`
}

func TestParamsOf(t *testing.T) {
	params, err := ParamsOf(&good{hidden: 1, Count: 3, Inner: goodInner{X: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if len(params) != 11 {
		t.Fatalf("%d parameters", len(params))
	}
	count, inner := params[0], params[3]
	if count.Name != "count" || !count.Key || !count.Required || count.Min != "1" || count.Max != "10" || count.Default != 3 || count.Index != 1 {
		t.Errorf("%+v", count)
	}
	if mode := params[1]; mode.Key || strings.Join(mode.Enum, " ") != "a b" || mode.Default != nil {
		t.Errorf("%+v", mode)
	}
	if len(inner.Params) != 1 || inner.Params[0].Default != 7 || len(params[4].Params) != 1 || params[6].Params != nil {
		t.Errorf("%+v", inner)
	}
}

type recursive struct {
	Inner []recursive `json:"inner" key:"yes" doc:"Itself."`
}

func TestParamFaults(t *testing.T) {
	for _, c := range []struct {
		step Step
		want string
	}{
		{good{}, "want a pointer to a struct"},
		{(*good)(nil), "want a pointer to a struct"},
		{&struct{ A int }{}, "no json"},
		{&struct {
			A int `json:"Aa" key:"yes" doc:"x"`
		}{}, "no json"},
		{&struct {
			A int `json:"a" key:"yes"`
		}{}, "no doc tag"},
		{&struct {
			A int `json:"a" doc:"x"`
		}{}, "no key"},
		{&struct {
			A chan int `json:"a" key:"yes" doc:"x"`
		}{}, "cannot have the type chan int"},
		{&struct {
			A map[int]int `json:"a" key:"yes" doc:"x"`
		}{}, "cannot have the type map[int]int"},
		{&struct {
			A int `json:"a" key:"yes" doc:"x" enum:"1,2"`
		}{}, "an enum tag, which is for strings only"},
		{&struct {
			A int `json:"a" key:"yes" doc:"x" min:"one"`
		}{}, `the limit "one"`},
		{&struct {
			A Duration `json:"a" key:"yes" doc:"x" max:"5"`
		}{}, `the limit "5"`},
		{&struct {
			A string `json:"a" key:"yes" doc:"x" min:"1"`
		}{}, "only numbers and durations have limits"},
		{&recursive{}, "nested deeper than 8 levels"},
	} {
		if _, err := ParamsOf(c.step); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T: got %v, want %q", c.step, err, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1m30s")); err != nil || time.Duration(d) != 90*time.Second || d.String() != "1m30s" {
		t.Errorf("%v %v", d, err)
	}
	if err := d.UnmarshalText([]byte("90")); err == nil || !strings.Contains(err.Error(), "is not a duration such as 30s, 5m or 1h30m") {
		t.Error(err)
	}
	if text, err := json.Marshal(Value{map[string]any{"b": 1.0, "a": []any{nil}}}); err != nil || string(text) != `{"a":[null],"b":1}` {
		t.Errorf("%s %v", text, err)
	}
}
