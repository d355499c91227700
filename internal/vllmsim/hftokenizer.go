package vllmsim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// WriteTokenizer writes the simulation's tokenizer to a folder as HuggingFace
// keeps one (tokenizer.json, tokenizer_config.json), so that load generators
// that count tokens themselves count as the simulation does, with no network.
func WriteTokenizer(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("write the tokenizer: %w", err)
	}
	for name, content := range map[string]any{"tokenizer.json": hfTokenizer(), "tokenizer_config.json": hfConfig()} {
		text, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o666)
		}
		if err != nil {
			return fmt.Errorf("write the tokenizer: %w", err)
		}
	}
	return nil
}

// hfPieces cuts text as nextToken does. What it cuts and the vocabulary does
// not hold falls into bytes.
const hfPieces = ` [a-z]{1,3}|[a-z]{1,3}|[0-9]{1,3}|[^a-z0-9]`

type object = map[string]any

// hfTokenizer is a byte-level BPE without a merge: a piece is a token if the
// vocabulary holds it, and its bytes if not.
func hfTokenizer() object {
	vocab := make(map[string]int32, vocabulary)
	var special []object
	for id := range int32(vocabulary) {
		text := string(appendText(nil, id))
		switch {
		case id >= firstSpecial && id < firstPair:
			if id > specialEnd {
				text = fmt.Sprintf("<|reserved_%d|>", id)
			}
			special = append(special, object{"id": id, "content": text, "special": true, "normalized": false,
				"single_word": false, "lstrip": false, "rstrip": false})
			vocab[text] = id
		default:
			vocab[visible(text)] = id
		}
	}
	return object{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "post_processor": nil,
		"added_tokens": special,
		"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": hfPieces}, "behavior": "Isolated", "invert": false},
			{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
		}},
		"decoder": object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
		"model": object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": true, "vocab": vocab, "merges": []string{}},
	}
}

func hfConfig() object {
	return object{
		"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "model_max_length": 1 << 20,
		"eos_token": specialText(specialEnd),
		"chat_template": `{% for m in messages %}` +
			`{% if m.role in ['system', 'developer'] %}<|system|>{% elif m.role == 'assistant' %}<|assistant|>{% elif m.role == 'tool' %}<|tool|>{% else %}<|user|>{% endif %}` +
			`{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`,
	}
}

// visible writes each byte as the character that GPT-2's byte-level alphabet
// has for it: printable Latin-1 characters as themselves, all others from U+0100 on.
func visible(text string) string {
	out := make([]rune, 0, len(text))
	for i := range len(text) {
		out = append(out, byteRune(text[i]))
	}
	return string(out)
}

func byteRune(b byte) rune {
	printable := func(c int) bool { return c >= '!' && c <= '~' || c >= 0xa1 && c <= 0xac || c >= 0xae && c <= 0xff }
	if printable(int(b)) {
		return rune(b)
	}
	hidden := rune(0)
	for c := range int(b) {
		if !printable(c) {
			hidden++
		}
	}
	return 0x100 + hidden
}
