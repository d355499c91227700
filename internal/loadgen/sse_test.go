package loadgen

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// pieces is a reader that gives one piece a read.
type pieces [][]byte

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	if (*p)[0] = (*p)[0][n:]; len((*p)[0]) == 0 {
		*p = (*p)[1:]
	}
	return n, nil
}

// events reads all events of a stream that comes in pieces, as name=data.
func events(t testing.TB, in ...[]byte) []string {
	t.Helper()
	src := pieces(slices.DeleteFunc(in, func(b []byte) bool { return len(b) == 0 }))
	var r EventReader
	var got []string
	for {
		_, err := r.Fill(&src)
		for ev, ok := r.Next(); ok; ev, ok = r.Next() {
			got = append(got, ev.Name+"="+string(ev.Data))
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
	}
	if ev, ok := r.Flush(); ok {
		got = append(got, ev.Name+"="+string(ev.Data))
	}
	return got
}

var streams = map[string]struct {
	in   string
	want []string
}{
	"newline":            {"data: a\n\ndata: b\n\n", []string{"=a", "=b"}},
	"carriage return":    {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"=a", "=b"}},
	"no space":           {"data:a\n\n", []string{"=a"}},
	"one space only":     {"data:  a\n\n", []string{"= a"}},
	"comment":            {": ping\n\ndata: a\n: in between\n\n", []string{"=a"}},
	"many lines":         {"data: a\ndata: b\ndata:\ndata: c\n\n", []string{"=a\nb\n\nc"}},
	"named":              {"event: error\ndata: a\n\ndata: b\n\n", []string{"error=a", "=b"}},
	"other fields":       {"id: 7\nretry: 10\ndata: a\nunknown: x\ndatax: y\n\n", []string{"=a"}},
	"without data":       {"event: ping\n\ndata: a\n\n", []string{"=a"}},
	"empty data":         {"data\n\ndata:\n\n", []string{"=", "="}},
	"empty first line":   {"data\ndata: a\n\n", []string{"=\na"}},
	"no end":             {"data: a\n\ndata: b", []string{"=a", "=b"}},
	"no empty line":      {"data: a\n", []string{"=a"}},
	"byte order mark":    {"\xef\xbb\xbfdata: a\n\n", []string{"=a"}},
	"many empty lines":   {"\n\n\r\ndata: a\n\n\n\n", []string{"=a"}},
	"done":               {"data: {\"a\":1}\n\ndata: [DONE]\n\n", []string{`={"a":1}`, "=[DONE]"}},
	"many lines, twice":  {"data: a\ndata: b\n\ndata: c\ndata: d\n\n", []string{"=a\nb", "=c\nd"}},
	"colon in the value": {"data: a: b\n\n", []string{"=a: b"}},
	"nothing":            {"", nil},
}

func TestEventReader(t *testing.T) {
	for name, c := range streams {
		if got := events(t, []byte(c.in)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for i := range len(c.in) { // split over two reads anywhere
			if got := events(t, []byte(c.in[:i]), []byte(c.in[i:])); !slices.Equal(got, c.want) {
				t.Errorf("%s, split at %d: %q, want %q", name, i, got, c.want)
			}
		}
		var single [][]byte
		for i := range len(c.in) { // a byte a read
			single = append(single, []byte(c.in[i:i+1]))
		}
		if got := events(t, single...); !slices.Equal(got, c.want) {
			t.Errorf("%s, byte by byte: %q, want %q", name, got, c.want)
		}
	}
}

// All events of one read stay valid until the next read.
func TestEventsStayValid(t *testing.T) {
	src := pieces{[]byte("data: a"), []byte("b\n\ndata: c\ndata: d\n\ndata: e\ndata: f\n\ndata: g\n\n")}
	var r EventReader
	var got [][]byte
	for range 2 {
		if _, err := r.Fill(&src); err != nil {
			t.Fatal(err)
		}
		for ev, ok := r.Next(); ok; ev, ok = r.Next() {
			got = append(got, ev.Data)
		}
	}
	if text := string(bytes.Join(got, []byte("|"))); text != "ab|c\nd|e\nf|g" {
		t.Errorf("%q", text)
	}
}

func TestEventTooLarge(t *testing.T) {
	src := io.MultiReader(strings.NewReader("data: "), endless{})
	var r EventReader
	for {
		n, err := r.Fill(src)
		if errors.Is(err, ErrEventTooLarge) {
			return
		}
		if err != nil || n == 0 {
			t.Fatalf("read %d, %v", n, err)
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// FuzzSSE: a stream gives the same events however it is cut into reads.
func FuzzSSE(f *testing.F) {
	for _, c := range streams {
		f.Add([]byte(c.in), uint16(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		want := events(t, in)
		if got := events(t, split(in, int(cut))...); !slices.Equal(got, want) {
			t.Fatalf("cut %d: %q, whole: %q", cut, got, want)
		}
		for _, ev := range want {
			if _, data, _ := strings.Cut(ev, "="); len(data) > len(in) {
				t.Fatalf("an event of %d bytes from a stream of %d", len(data), len(in))
			}
		}
	})
}

// split cuts in into pieces whose lengths vary with cut.
func split(in []byte, cut int) [][]byte {
	var out [][]byte
	for i := 0; len(in) > 0; i++ {
		n := min(len(in), 1+(cut*(i+1))%7)
		out = append(out, in[:n])
		in = in[n:]
	}
	return out
}
