package jsonscan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestWalk(t *testing.T) {
	text := ` {"a": {"x":[1,{"y":"]}"}], "z":2}, "list":[10, "s", [ ], {}], "\u0062":"q\"uote\\", "n":null, "e":{}} `
	s := New([]byte(text))
	var key []byte
	got := map[string]string{}
	for s.Object(); s.Member(&key); {
		name := string(key)
		switch name {
		case "list":
			n := 0
			for s.Array(); s.Element(); n++ {
				s.Skip()
			}
			got[name] = strings.Repeat("i", n)
		case "b":
			got[name], _ = s.Text()
		default:
			got[name] = string(s.Skip())
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": `{"x":[1,{"y":"]}"}], "z":2}`, "list": "iiii", "b": `q"uote\`, "n": "null", "e": "{}"}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s = %q, want %q", name, got[name], text)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, text := range []string{"", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a" 1}`, `{1:2}`, `{"a":"open}`, `{"a":"\`, `{"a":1}}`, `{"a":1} x`, `[1]`, `{"a":1 "b":2}`, `{"\ud8":1}`} {
		s := New([]byte(text))
		var key []byte
		for s.Object(); s.Member(&key); {
			s.Skip()
		}
		if s.End() == nil {
			t.Errorf("%q is taken", text)
		}
		if s.Member(&key) || s.Element() || s.Err() == nil {
			t.Errorf("%q: something is found after the fault", text)
		}
	}
}

// What encoding/json takes, the scanner takes, and finds the same members.
func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2,{"c":"\\\""}]},"d":-1e9}`))
	f.Add([]byte(`{"a":"\u0041","":[],"x":{}} `))
	f.Add([]byte(`{"a":[1,2`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := New(text)
		var key []byte
		found := map[string]json.RawMessage{}
		for s.Object(); s.Member(&key); {
			found[string(key)] = s.Skip()
		}
		err := s.End()
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return // it may be taken all the same: what is skipped is not checked in full
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for name, value := range want {
			if got, ok := found[name]; ok && bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(value)) {
				continue
			}
			if strings.ContainsRune(name, '\uFFFD') {
				continue // bytes that are no UTF-8, which encoding/json replaces
			}
			t.Fatalf("%q: member %q is %q, want %q", text, name, found[name], value)
		}
	})
}
