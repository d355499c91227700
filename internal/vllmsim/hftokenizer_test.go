package vllmsim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The vocabulary is the simulation's own, in the byte-level spelling of GPT-2.
// That tokenizers of HuggingFace read it and count as the simulation does is
// tested where AIPerf measures it.
func TestWriteTokenizer(t *testing.T) {
	dir := t.TempDir()
	if err := WriteTokenizer(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Added []struct {
			ID      int32
			Content string
		} `json:"added_tokens"`
		Model struct {
			Vocab map[string]int32
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if got := len(file.Model.Vocab); got != vocabulary {
		t.Errorf("%d tokens, want %d", got, vocabulary)
	}
	for piece, want := range map[string]string{"Ġabc": " abc", "A": "A", "Ċ": "\n", "Ģ": "\x80", "Ń": "\u00ad"[1:], "42": "42", "ÿ": "\xff"} {
		tokens := appendTokens(nil, want)
		if id, ok := file.Model.Vocab[piece]; !ok || len(tokens) != 1 || tokens[0] != id {
			t.Errorf("%q is %d, %v; want %v", piece, id, ok, tokens)
		}
	}
	if first := file.Added[0]; first.ID != specialSystem || first.Content != "<|system|>" {
		t.Errorf("first special token %+v", first)
	}
	if err := WriteTokenizer(filepath.Join(dir, "tokenizer.json")); err == nil {
		t.Error("wrote into a file")
	}
}
