package transcript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pipeline/internal/conversation"
)

type turn = conversation.Turn

func read(t testing.TB, r *Reader, path string) ([]conversation.Conversation, error) {
	t.Helper()
	var all []conversation.Conversation
	for c, err := range r.File(path, filepath.Base(path)) {
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Characters are counted by hand: 4 make a token, and a part of one is one.
func TestShapes(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []conversation.Conversation
		drops      string
	}{
		{"messages", `{"id": 7, "messages": [{"role":"system","content":"Be brief"},{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"},{"role":"user","content":"Bye"}]}`,
			[]conversation.Conversation{{ID: "7", System: "Be brief", Turns: []turn{{User: "Hello", Assistant: "Hi", ISL: 4, OSL: 1}, {User: "Bye", Assistant: "", ISL: 5, OSL: 0}}}}, ""},
		{"parts and tools", `{"messages": [
			{"role":"user","content":[{"type":"text","text":"List"},{"type":"image_url","image_url":{"url":"x"}}]},
			{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"ls","arguments":"{\"d\":\"<a>\"}"}}]},
			{"role":"tool","content":"a b"},{"role":"assistant","content":"Two"},{"role":"assistant","content":"files"}]}`,
			[]conversation.Conversation{{ID: "row-1", Turns: []turn{
				{User: "List", Assistant: `{"arguments":"{\"d\":\"<a>\"}","name":"ls"}`, ISL: 1, OSL: 11},
				{User: "a b", Assistant: "Two\n\nfiles", ISL: 13, OSL: 3}}}},
			"1 part of a message that is no text was left out"},
		{"sharegpt", `[{"id":"a","conversations":[{"from":"gpt","value":"early"},{"from":"human","value":"q"},{"from":"gpt","value":"answer"}]}]`,
			[]conversation.Conversation{{ID: "a", Turns: []turn{{User: "q", Assistant: "answer", ISL: 1, OSL: 2}}}}, "1 answer before anybody asked was left out"},
		{"json in a text", `{"conversation": "[{\"role\":\"user\",\"content\":\"q\"}]"}`, []conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "q", Assistant: "", ISL: 1, OSL: 0}}}}, ""},
		{"lists in an object", `{"messages": {"role":["user","assistant"],"content":["q","a"]}}`, []conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "q", Assistant: "a", ISL: 1, OSL: 1}}}}, ""},
		{"aiperf", `{"session_id":"s","turns":[{"role":"system","text":"sys"},{"text":"one","delay":0,"output_length":50},{"texts":["two","three"]}]}`,
			[]conversation.Conversation{{ID: "s", System: "sys", Turns: []turn{{User: "one", Assistant: "", ISL: 2, OSL: 50}, {User: "two\nthree", Assistant: "", ISL: 0, OSL: 0}}}}, ""},
		{"aiperf besides its text", `{"turns":[{"text":"a","image":"url","delay":0},{"text":"b","delay":1000}]}`,
			[]conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "a", ISL: 1}, {User: "b"}}}},
			"1 delay or time of a turn was left out: turns follow each other at once; 1 image, sound or video of a turn was left out"},
		{"own", `{"id":"x","system":"s","turns":[{"user":"u","assistant":"a","isl":100,"osl":20},{"user":"v"}]}`,
			[]conversation.Conversation{{ID: "x", System: "s", Turns: []turn{{User: "u", Assistant: "a", ISL: 100, OSL: 20}, {User: "v", Assistant: "", ISL: 1, OSL: 0}}}}, ""},
		{"single", "{\"prompt\":\"p\",\"response\":\"r\"}\n\n{\"text\":\"t\",\"output_length\":9}\n",
			[]conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "p", Assistant: "r", ISL: 1, OSL: 1}}}, {ID: "row-2", Turns: []turn{{User: "t", Assistant: "", ISL: 1, OSL: 9}}}}, ""},
		{"same ids", `{"id":"x","prompt":"p"}{"id":"x","prompt":"q"}`,
			[]conversation.Conversation{{ID: "x", Turns: []turn{{User: "p", Assistant: "", ISL: 1, OSL: 0}}}, {ID: "x#2", Turns: []turn{{User: "q", Assistant: "", ISL: 1, OSL: 0}}}}, "1 id that was there before got a number"},
		{"rows left out", `{"prompt":"p"}{"messages":[{"role":"nobody","content":"x"}]}{"messages":[]}{"messages":[7]}`,
			[]conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "p", Assistant: "", ISL: 1, OSL: 0}}}},
			"1 row left out: message 1: role \"nobody\" is not known; 1 row left out: nobody asks anything in it; 1 row left out: none of its columns (messages) holds a conversation: name one with columns.conversation (a list of messages) or columns.user (a text)"},
		{"late system", `{"messages":[{"role":"user","content":"a"},{"role":"developer","content":"b"}]}`,
			[]conversation.Conversation{{ID: "row-1", Turns: []turn{{User: "a\n\nb", Assistant: "", ISL: 1, OSL: 0}}}}, "1 system message in the middle became part of what the user says"},
		{"empty", "", nil, ""},
		{"empty array", "\ufeff [ ]", nil, ""},
	} {
		r := &Reader{}
		got, err := read(t, r, file(t, "x.jsonl", test.text))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", test.name, err, got, test.want)
		}
		var drops []string
		for _, d := range r.Drops() {
			drops = append(drops, fmt.Sprint(d.Count, " ", d.Why))
		}
		if s := strings.Join(drops, "; "); s != test.drops {
			t.Errorf("%s: drops\n got %s\nwant %s", test.name, s, test.drops)
		}
	}
}

func TestColumnsAndLimits(t *testing.T) {
	path := file(t, "x.jsonl", `{"key":"k","ask":"question","tell":"answer","prompt":"not this"}
{"key":"l","ask":"question","tell":"answer"}`)
	got, err := read(t, &Reader{Columns: Columns{ID: "key", User: "ask", Assistant: "tell"}}, path)
	if err != nil || len(got) != 2 || got[0].ID != "k" || got[0].Turns[0] != (turn{User: "question", Assistant: "answer", ISL: 2, OSL: 2}) {
		t.Errorf("%+v %v", got, err)
	}
	path = file(t, "x.jsonl", `{"talk":[{"role":"user","content":"aaaa"},{"role":"assistant","content":"bbbb"},{"role":"user","content":"cccc"},{"role":"assistant","content":"dddd"},{"role":"user","content":"eeee"}]}`)
	for _, test := range []struct{ turns, isl, want int }{{0, 0, 3}, {2, 0, 2}, {0, 3, 2}, {0, 4, 2}, {0, 5, 3}, {0, 1, 1}} {
		got, err := read(t, &Reader{Columns: Columns{Conversation: "talk"}, MaxTurns: test.turns, MaxISL: test.isl}, path)
		if err != nil || len(got) != 1 || len(got[0].Turns) != test.want {
			t.Errorf("%+v: %+v %v", test, got, err)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"x.jsonl", `{"prompt":"p"}` + "\n{\"prompt\":", "x.jsonl: is cut off: its JSON does not end"},
		{"x.json", `[{"prompt":"p"}`, "x.json: is cut off: its JSON does not end"},
		{"x.jsonl", "{\"prompt\":\"p\"}\n\n}", "x.jsonl: up to line 3: invalid character '}' looking for beginning of value"},
		{"x.jsonl", `7`, "x.jsonl: holds a JSON number where an object should be"},
		{"x.jsonl", `null`, "x.jsonl: holds null where an object should be"},
		{"x.jsonl", `{"a":1,"b":2}`, "x.jsonl: row 1: none of its columns (a, b) holds a conversation: name one with columns.conversation (a list of messages) or columns.user (a text)"},
		{"x.parquet", "PAR1 and no more", "x.parquet: is no Parquet file, or a damaged one: "},
	} {
		if _, err := read(t, &Reader{}, file(t, test.name, test.text)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.text, err, test.want)
		}
	}
	_, err := read(t, &Reader{}, "testdata/vllm_generate_multi_turn.json")
	if want := "vllm_generate_multi_turn.json: row 1: is a file of type generate_conversations for a generator, and holds no conversations"; fmt.Sprint(err) != want {
		t.Error(err)
	}
	_, err = read(t, &Reader{Columns: Columns{Conversation: "chat"}}, "testdata/sharegpt_mini.json")
	if want := "sharegpt_mini.json: row 1: column chat holds no conversation (there are: conversations, id)"; fmt.Sprint(err) != want {
		t.Error(err)
	}
}

func TestSamples(t *testing.T) {
	for name, want := range map[string]string{
		"sharegpt_mini.json":      `[{"id":"1","turns":[{"user":"Hello!","assistant":"Hi! How can I help you?","isl":2,"osl":6}]},{"id":"2","turns":[{"user":"What is 2+2?","assistant":"2+2 is 4.","isl":3,"osl":3}]}]`,
		"aiperf_multi_turn.jsonl": `[{"id":"session_123","turns":[{"user":"Hello","isl":2},{"user":"Hi there"}]},{"id":"session_123#2","turns":[{"user":"What is deep learning?","isl":6},{"user":"Who are you?"}]},{"id":"session_123#3","turns":[{"user":"What is deep learning?","isl":6},{"user":"Who are you?"}]}]`,
		"sequence.parquet":        `[{"id":"0","turns":[{"user":"Q0","assistant":"A0","isl":1,"osl":1}]},{"id":"1","turns":[{"user":"Q1","assistant":"A1","isl":1,"osl":1}]},{"id":"2","turns":[{"user":"Q2","assistant":"A2","isl":1,"osl":1}]}]`,
	} {
		got, err := read(t, &Reader{}, "testdata/"+name)
		if text, _ := json.Marshal(got); err != nil || string(text) != want {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestParquet(t *testing.T) {
	for _, name := range []string{"messages-snappy.parquet", "messages-zstd-v2.parquet"} {
		r := &Reader{}
		got, err := read(t, r, "testdata/"+name)
		if err != nil || len(got) != 42 || r.Rows() != 43 {
			t.Fatalf("%s: %d of %d, %v", name, len(got), r.Rows(), err)
		}
		want := []conversation.Conversation{
			{ID: "c-1", System: "Answer briefly.", Turns: []turn{{User: "What is 2+2?", Assistant: "4", ISL: 7, OSL: 1}, {User: "And 3+3?", Assistant: "6", ISL: 9, OSL: 1}}},
			{ID: "c-2", Turns: []turn{{User: "Hello ünïcode", Assistant: "Hi", ISL: 4, OSL: 1}, {User: "Bye", Assistant: "", ISL: 5, OSL: 0}}},
		}
		if !reflect.DeepEqual(got[:2], want) || got[41].ID != "c-43" || got[41].Turns[0].Assistant != "Answer 43" {
			t.Errorf("%s: %+v", name, got)
		}
		if d := r.Drops(); len(d) != 1 || d[0] != (conversation.Drop{Count: 1, Why: "row left out: nobody asks anything in it"}) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A file that is cut or changed anywhere gives an error or other rows, and
// never more than that.
func TestDamagedParquet(t *testing.T) {
	whole, err := os.ReadFile("testdata/messages-snappy.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 7 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0xff
		for _, b := range [][]byte{whole[:i], damaged} {
			n := 0
			_ = readParquet(bytes.NewReader(b), int64(len(b)), func(row) bool { n++; return n < 1000 })
		}
	}
}

// Whatever a file holds, what is read of it can be written and sent.
func FuzzJSON(f *testing.F) {
	for _, name := range []string{"sharegpt_mini.json", "aiperf_multi_turn.jsonl", "vllm_generate_multi_turn.json"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"messages":{"role":[],"content":[]}}{"turns":[{"role":"assistant","text":"x","output_length":5}]}`))
	f.Add([]byte("{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[null,{\"function\":7}]},{\"role\":\"user\",\"content\":[\"\\ud800\",{}]}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := file(t, "x.json", string(text))
		w := conversation.NewWriter(new(bytes.Buffer))
		r := &Reader{MaxISL: 1000}
		for c, err := range r.File(path, "x.json") {
			if err != nil {
				return
			}
			if err := w.Write(c); err != nil {
				t.Fatal(err)
			}
		}
	})
}
