package digest_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/quick"

	"pipeline/internal/digest"
)

// The SHA-256 of "abc" is the first example of FIPS 180-2, appendix B.1.
func TestOf(t *testing.T) {
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := digest.Of([]byte("abc")).String(); got != want {
		t.Errorf("Of(abc) = %s, want %s", got, want)
	}
	d, n, err := digest.OfReader(strings.NewReader("abc"))
	if err != nil || n != 3 || d.String() != want {
		t.Errorf("OfReader(abc) = %s, %d, %v", d, n, err)
	}
}

func TestParse(t *testing.T) {
	d := digest.Of(nil)
	if got, err := digest.Parse(d.String()); err != nil || got != d {
		t.Errorf("Parse(String) = %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("z", 64), d.String() + "0"} {
		if _, err := digest.Parse(bad); err == nil {
			t.Errorf("Parse(%q) gave no error", bad)
		}
	}
}

func TestCanonical(t *testing.T) {
	type tagged struct {
		B int     `json:"b"`
		A float64 `json:"a"`
	}
	for _, c := range []struct {
		in   any
		want string
	}{
		{nil, `null`},
		{true, `true`},
		{2.0, `2`},
		{2, `2`},
		{json.Number("2.0"), `2`},
		{0.1, `0.1`},
		{math.Copysign(0, -1), `0`},
		{1e300, `1e+300`},
		{int64(1) << 60, `1152921504606846976`},
		{"a<b>\n\u00e9", `"a<b>\n` + "\u00e9" + `"`},
		{[]any{}, `[]`},
		{[]string{"x", "y"}, `["x","y"]`},
		{map[string]any{"b": 1, "a": []any{2.5}}, `{"a":[2.5],"b":1}`},
		{tagged{1, 2}, `{"a":2,"b":1}`},
		{[]tagged{{1, 2}}, `[{"a":2,"b":1}]`},
	} {
		got, err := digest.Canonical(c.in)
		if err != nil || string(got) != c.want {
			t.Errorf("Canonical(%#v) = %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	for _, bad := range []any{math.NaN(), math.Inf(1), "\xff", map[string]any{"\xff": 1}, func() {}} {
		if got, err := digest.Canonical(bad); err == nil {
			t.Errorf("Canonical(%#v) = %s, want an error", bad, got)
		}
	}
}

// What Canonical writes, read back and written again, is the same text.
func TestCanonicalFixpoint(t *testing.T) {
	law := func(m map[string][]float64, s string) bool {
		s = strings.ToValidUTF8(s, "")
		clean := map[string]any{"s": s}
		for k, v := range m {
			clean[strings.ToValidUTF8(k, "?")] = v
		}
		one, err := digest.Canonical(clean)
		if err != nil {
			return false
		}
		var back any
		if err := json.Unmarshal(one, &back); err != nil {
			return false
		}
		two, err := digest.Canonical(back)
		return err == nil && string(one) == string(two)
	}
	if err := quick.Check(law, nil); err != nil {
		t.Error(err)
	}
}
