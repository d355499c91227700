package jsonscan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestElements(t *testing.T) {
	long := strings.Repeat("x", 700_000)
	text := fmt.Sprintf(` {"other": {"data": [9]}, "data" : [1, "a]", {"b": [2, 3]},[ ], %q, null , 12] , "after": "\"data\"" } `, long)
	var got []string
	for element, err := range Elements(iotest.HalfReader(strings.NewReader(text)), "data", 1<<20) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(element))
	}
	want := []string{"1", `"a]"`, `{"b": [2, 3]}`, "[ ]", `"` + long + `"`, "null", "12"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d elements, want %d: %.100q", len(got), len(want), got)
	}
	for _, err := range Elements(strings.NewReader(text), "data", 1000) {
		if err != nil && !errors.Is(err, ErrLong) {
			t.Errorf("error %v", err)
		}
	}
	for range Elements(strings.NewReader(text), "data", 1<<20) {
		break // nothing is wrong with that
	}
}

func TestElementsFaults(t *testing.T) {
	for text, want := range map[string]string{
		"": "EOF", "[": "wanted", "{}": "member data: it is missing", `{"a":1}`: "missing", `{"data":{}}`: "a list is wanted", `{"data":[`: "", `{"data":[1`: "", `{"data":[1 2]}`: "comma",
		`{"data":[{"a":1]`: "", `{"data":[]`: "EOF", `{"data":[]} x`: "after the end", `{"data" []}`: "colon", `{"data":["open`: "cut off", `{"data":[1,]}`: "",
	} {
		var err error
		for _, e := range Elements(iotest.OneByteReader(strings.NewReader(text)), "data", 1000) {
			err = e
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	broken := errors.New("disk")
	for _, start := range []string{"", `{"data":[`, `{"data":["a`, `{"data":[1`} {
		for _, e := range Elements(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)), "data", 1000) {
			if e != nil && !errors.Is(e, broken) {
				t.Errorf("after %q: error %v", start, e)
			}
		}
	}
}

func FuzzElements(f *testing.F) {
	f.Add(`{"a":1,"data":[1,{"x":[]},"s"],"b":{}}`)
	f.Add(`{"data":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		var failed error
		for element, err := range Elements(iotest.OneByteReader(strings.NewReader(text)), "data", 10_000) {
			got, failed = append(got, string(element)), err
		}
		var want struct{ Data []json.RawMessage }
		if !strings.Contains(text, `"data"`) || strings.Count(strings.ToLower(text), "data") != 1 || json.Unmarshal([]byte(text), &want) != nil || want.Data == nil {
			return
		}
		if failed != nil || len(got) != len(want.Data) {
			t.Fatalf("%q: %q, %v; want %q", text, got, failed, want.Data)
		}
		for i := range got {
			if got[i] != string(want.Data[i]) {
				t.Fatalf("%q: element %d is %q, want %q", text, i, got[i], want.Data[i])
			}
		}
	})
}
