package vllmsim

import (
	"slices"
	"testing"
)

func detokenize(tokens []int32) string {
	var text []byte
	for _, id := range tokens {
		text = appendText(text, id)
	}
	return string(text)
}

func TestTokenizerPieces(t *testing.T) {
	for _, c := range []struct {
		text   string
		pieces []string
	}{
		{"", nil},
		{"hello world", []string{"hel", "lo", " wor", "ld"}},
		{"a b  cd", []string{"a", " b", " ", " cd"}},
		{"Abc 2026!", []string{"A", "bc", " ", "202", "6", "!"}},
		{"é", []string{"\xc3", "\xa9"}},
		{"<|user|>", []string{"<", "|", "use", "r", "|", ">"}},
	} {
		var got []string
		for _, id := range appendTokens(nil, c.text) {
			if id < 0 || id >= vocabulary {
				t.Errorf("%q: id %d is out of the vocabulary", c.text, id)
			}
			got = append(got, detokenize([]int32{id}))
		}
		if !slices.Equal(got, c.pieces) {
			t.Errorf("%q: %q, want %q", c.text, got, c.pieces)
		}
	}
}

// Each id has a text, and no two pieces have the same.
func TestVocabularyIsOneToOne(t *testing.T) {
	seen := map[string]int32{}
	for id := range int32(vocabulary) {
		if id >= firstSpecial && id < firstPair {
			continue
		}
		text := detokenize([]int32{id})
		if other, ok := seen[text]; ok {
			t.Fatalf("ids %d and %d are both %q", other, id, text)
		}
		seen[text] = id
		if tokens := appendTokens(nil, text); len(tokens) != 1 || tokens[0] != id {
			t.Fatalf("%q is id %d, but is cut into %v", text, id, tokens)
		}
	}
}

// A generated answer is cut again into the very tokens that made it.
func TestGeneratedTextIsCutAsGenerated(t *testing.T) {
	for answer := range uint64(50) {
		var tokens []int32
		for i := range 200 {
			tokens = append(tokens, generated(answer, i))
		}
		if again := appendTokens(nil, detokenize(tokens)); !slices.Equal(again, tokens) {
			t.Fatalf("answer %d: %d tokens became %d", answer, len(tokens), len(again))
		}
	}
}

func FuzzTokenizer(f *testing.F) {
	for _, seed := range []string{"", "hello world", "The quick  brown fox 12345", "naïve\n\tcafé", "\xff\xfe a", "   "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens := appendTokens(nil, text)
		if got := detokenize(tokens); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		if len(tokens) > len(text) {
			t.Errorf("%d tokens of %d bytes", len(tokens), len(text))
		}
	})
}
