package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pipeline/internal/digest"
)

var two = []Conversation{
	{ID: "a", System: "be <brief>", Turns: []Turn{
		{User: "one", Assistant: "1", ISL: 10, OSL: 4},
		{User: "two", Assistant: "2", ISL: 20, OSL: 8},
		{User: "three", ISL: 30},
	}},
	{ID: "b", Turns: []Turn{{User: "é\u2028", Assistant: "yes", ISL: 40, OSL: 6}}},
}

// The bytes are an interface: their digest is in keys.
const twoLines = `{"id":"a","system":"be <brief>","turns":[{"user":"one","assistant":"1","isl":10,"osl":4},{"user":"two","assistant":"2","isl":20,"osl":8},{"user":"three","isl":30}]}
{"id":"b","turns":[{"user":"é\u2028","assistant":"yes","isl":40,"osl":6}]}
`

func TestWriteAndRead(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, c := range two {
		if err := w.Write(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if b.String() != twoLines {
		t.Errorf("wrote\n%s", b.String())
	}
	if w.Digest() != digest.Of([]byte(twoLines)) {
		t.Errorf("the digest is not that of the file")
	}
	// Another spelling is the same content.
	spelled := "\n" + strings.ReplaceAll(twoLines, `"id":"a","system"`, `"id" : "\u0061", "system"`) + "\n"
	var got []Conversation
	var tally Tally
	for c, err := range Read(strings.NewReader(spelled)) {
		if err != nil {
			t.Fatal(err)
		}
		if err := tally.Add(c); err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if !reflect.DeepEqual(got, two) || tally.Digest() != w.Digest() {
		t.Errorf("read %+v", got)
	}
	want := Summary{Conversations: 2, Requests: 4, Recorded: 3, Systems: 1,
		Turns: &Spread{1, 2, 1, 3, 3, 3}, ISL: &Spread{10, 25, 20, 40, 40, 40}, OSL: &Spread{4, 6, 6, 8, 8, 8}}
	if s := tally.Summary(); !reflect.DeepEqual(s, want) {
		t.Errorf("summary %+v", s)
	}
}

// What nobody counted is no count of zero.
func TestSummaryOfUncounted(t *testing.T) {
	var tally Tally
	for _, c := range []Conversation{{ID: "a", Turns: []Turn{{User: "x", ISL: 1}, {User: "y", Assistant: "z"}}}} {
		if err := tally.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	s := tally.Summary()
	if s.ISL != nil || s.OSL != nil || s.Open != 1 {
		t.Errorf("summary %+v", s)
	}
	if s := new(Tally).Summary(); s.Turns != nil || s.Requests != 0 {
		t.Errorf("summary of nothing %+v", s)
	}
}

func TestReadNamesLineAndField(t *testing.T) {
	good := `{"id":"a","turns":[{"user":"x"}]}`
	for _, c := range []struct{ text, want string }{
		{good + "\n" + `{"id":"","turns":[{"user":"x"}]}`, "line 2: id: is empty; each conversation needs a name of its own"},
		{good + "\n\n" + good, `line 3: id: "a" is the id of line 1 too`},
		{`{"id":"a","turns":[]}`, "line 1: turns: is empty; a conversation has at least one turn"},
		{`{"id":"a","turns":[{"user":"x"},{"user":""}]}`, "line 1: turns[1].user: is empty"},
		{`{"id":"a","turns":[{"user":"x","osl":-1}]}`, "line 1: turns[0].osl: -1 tokens are below 0"},
		{`{"id":"a","turns":[{"user":7}]}`, "line 1: turns.user: want a string, got a JSON number"},
		{`{"id":"a","turn":[]}`, `line 1: json: unknown field "turn"`},
		{`{"id":"a","turns":[{"user":"x"`, "line 1: is cut off: its JSON does not end"},
		{good + good, "line 1: holds more than one JSON object"},
		{"{\"id\":\"\xff\",\"turns\":[{\"user\":\"x\"}]}", "line 1: is not UTF-8"},
		{"[]", "line 1: json: cannot unmarshal array into Go value of type conversation.Conversation"},
	} {
		var err error
		for _, err = range Read(strings.NewReader(c.text)) {
		}
		var line *LineError
		if !errors.As(err, &line) || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w := NewWriter(new(bytes.Buffer))
	for i, c := range []struct {
		in   Conversation
		want string
	}{
		{Conversation{ID: "a", Turns: []Turn{{User: "x"}}}, ""},
		{Conversation{ID: "a", Turns: []Turn{{User: "x"}}}, `conversation 2: id: "a" is the id of line 1 too`},
		{Conversation{ID: "b", Turns: []Turn{{User: "\xff"}}}, "conversation 2: turns[0].user: is not UTF-8"},
	} {
		if got := fmt.Sprint(w.Write(c.in)); got != c.want && (c.want != "" || got != "<nil>") {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
}

func TestDrivers(t *testing.T) {
	plain := Conversation{ID: "p", Turns: []Turn{{User: "one"}, {User: "two", OSL: 3}}}
	recorded, single := two[0], Conversation{ID: "s", Turns: []Turn{{User: "hi", Assistant: "yo", OSL: 9}}}
	for _, c := range []struct {
		format string
		in     Conversation
		want   string
	}{
		{"single_turn", single, `{"text":"hi","output_length":9}` + "\n"},
		{"single_turn", plain, "! conversation p as AIPerf single_turn: has 2 turns"},
		{"multi_turn", plain, `{"session_id":"p","turns":[{"text":"one","output_length":5},{"text":"two","output_length":3}]}` + "\n"},
		{"multi_turn", single, `{"session_id":"s","turns":[{"text":"hi","output_length":9}]}` + "\n"},
		{"multi_turn", recorded, "! conversation a as AIPerf multi_turn: has a system message; only mooncake_trace carries one"},
		{"multi_turn", Conversation{ID: "r", Turns: recorded.Turns}, "! conversation r as AIPerf multi_turn: turn 1 has a recorded answer, which only mooncake_trace replays"},
		{"mooncake_trace", recorded.Head(2), `{"session_id":"a","messages":[{"role":"system","content":"be <brief>"},{"role":"user","content":"one"}],"output_length":4}
{"session_id":"a","messages":[{"role":"system","content":"be <brief>"},{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":"two"}],"output_length":8}
`},
		{"mooncake_trace", plain, "! conversation p as AIPerf mooncake_trace: turn 1 has no recorded answer, so that the request of turn 2 is not known ahead"},
		{"vllm", recorded, `{"prompt":"be <brief>\none","output_tokens":4}
{"prompt":"be <brief>\none\n1\ntwo","output_tokens":8}
{"prompt":"be <brief>\none\n1\ntwo\n2\nthree","output_tokens":5}
`},
		{"vllm", plain, "! conversation p for vllm bench: turn 1 has no recorded answer, so that the request of turn 2 is not known ahead"},
	} {
		var b bytes.Buffer
		var err error
		if c.format == "vllm" {
			err = WriteVLLMBench(&b, c.in, 5)
		} else {
			err = AIPerf(c.format).Write(&b, c.in, 5)
		}
		got := b.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if got != c.want {
			t.Errorf("%s of %s\n got %s\nwant %s", c.format, c.in.ID, got, c.want)
		}
	}
}

func TestDatasetFile(t *testing.T) {
	seed := int64(7)
	in := Dataset{Schema: DatasetSchema, Name: "n", Source: "file", Seed: &seed, Tokens: "t", Digest: digest.Of([]byte(twoLines)),
		Summary: Summary{Conversations: 2}, Dropped: []Drop{{3, "why"}}}
	var b bytes.Buffer
	if err := in.Write(&b); err != nil {
		t.Fatal(err)
	}
	out, err := ParseDataset(b.Bytes())
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%v\n%+v", err, out)
	}
	for _, bad := range []string{"", "{", `{"schema":"dataset/v2"}`, `{"schema":"dataset/v1"}`} {
		if _, err := ParseDataset([]byte(bad)); err == nil || !strings.Contains(err.Error(), "read dataset.json: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What is read can be written, and reads as the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(twoLines))
	f.Add([]byte(`{"id":"a","turns":[{"user":"\ud800"}]}`))
	f.Add([]byte(`{"id":"a","turns":[{"user":"x"}]}` + "\r\n\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(in []byte) (all []Conversation, err error) {
			for c, err := range Read(bytes.NewReader(in)) {
				if err != nil {
					return all, err
				}
				all = append(all, c)
			}
			return all, nil
		}
		all, _ := read(in)
		var b bytes.Buffer
		w := NewWriter(&b)
		for _, c := range all {
			if err := w.Write(c); err != nil {
				t.Fatalf("what was read is refused: %v", err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		again, err := read(b.Bytes())
		if err != nil || !reflect.DeepEqual(all, again) {
			t.Fatalf("%v\n%+v\n%+v", err, all, again)
		}
	})
}
