package vllmsim

// The tokenizer is arithmetic: no tables, no training. Its pieces are single
// bytes, runs of 2 or 3 lower-case letters, runs of 1 to 3 letters with one
// space before them, and runs of 2 or 3 digits. Text is cut greedily from the
// left, so English takes about 3 bytes a token, and every text comes back
// byte for byte. Generated tokens are a space and three letters: put
// together, they are cut again into exactly the same tokens.
const (
	firstSpecial = 256 // <|system|>, <|user|>, ...
	firstPair    = firstSpecial + 16
	firstTriple  = firstPair + 26*26
	firstSpace1  = firstTriple + 26*26*26
	firstSpace2  = firstSpace1 + 26
	firstSpace3  = firstSpace2 + 26*26
	firstDigits2 = firstSpace3 + 26*26*26
	firstDigits3 = firstDigits2 + 100
	vocabulary   = firstDigits3 + 1000
)

// Special tokens of the chat template. Plain text never becomes one.
const (
	specialSystem int32 = firstSpecial + iota
	specialUser
	specialAssistant
	specialTool
	specialEnd
)

func specialText(id int32) string {
	switch id {
	case specialSystem:
		return "<|system|>"
	case specialUser:
		return "<|user|>"
	case specialAssistant:
		return "<|assistant|>"
	case specialTool:
		return "<|tool|>"
	case specialEnd:
		return "<|end|>"
	}
	return "<|reserved|>"
}

func isLetter(c byte) bool { return c-'a' < 26 }
func isDigit(c byte) bool  { return c-'0' < 10 }

// run counts how many of the first 3 bytes of s are of a class.
func run(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && n < 3 && is(s[n]) {
		n++
	}
	return n
}

// ordinal reads s as digits of a number to that base.
func ordinal(s string, base int32, zero byte) int32 {
	n := int32(0)
	for i := range len(s) {
		n = n*base + int32(s[i]-zero)
	}
	return n
}

// appendTokens appends the tokens of text.
func appendTokens(tokens []int32, text string) []int32 {
	for len(text) > 0 {
		id, size := nextToken(text)
		tokens = append(tokens, id)
		text = text[size:]
	}
	return tokens
}

func nextToken(text string) (id int32, size int) {
	c := text[0]
	switch {
	case c == ' ':
		switch n := run(text[1:], isLetter); n {
		case 1:
			return firstSpace1 + ordinal(text[1:2], 26, 'a'), 2
		case 2:
			return firstSpace2 + ordinal(text[1:3], 26, 'a'), 3
		case 3:
			return firstSpace3 + ordinal(text[1:4], 26, 'a'), 4
		}
	case isLetter(c):
		switch n := run(text, isLetter); n {
		case 2:
			return firstPair + ordinal(text[:2], 26, 'a'), 2
		case 3:
			return firstTriple + ordinal(text[:3], 26, 'a'), 3
		}
	case isDigit(c):
		switch n := run(text, isDigit); n {
		case 2:
			return firstDigits2 + ordinal(text[:2], 10, '0'), 2
		case 3:
			return firstDigits3 + ordinal(text[:3], 10, '0'), 3
		}
	}
	return int32(c), 1
}

// appendText appends the text of a token. Ids above the pieces, which real
// vocabularies have and clients send, read as a space and three letters.
func appendText(text []byte, id int32) []byte {
	switch {
	case id < firstSpecial:
		return append(text, byte(id))
	case id < firstPair:
		return append(text, specialText(id)...)
	case id < firstTriple:
		return appendRun(text, id-firstPair, 2, 26, 'a')
	case id < firstSpace1:
		return appendRun(text, id-firstTriple, 3, 26, 'a')
	case id < firstSpace2:
		return appendRun(append(text, ' '), id-firstSpace1, 1, 26, 'a')
	case id < firstSpace3:
		return appendRun(append(text, ' '), id-firstSpace2, 2, 26, 'a')
	case id < firstDigits2:
		return appendRun(append(text, ' '), id-firstSpace3, 3, 26, 'a')
	case id < firstDigits3:
		return appendRun(text, id-firstDigits2, 2, 10, '0')
	case id < vocabulary:
		return appendRun(text, id-firstDigits3, 3, 10, '0')
	}
	return appendRun(append(text, ' '), id%(26*26*26), 3, 26, 'a')
}

func appendRun(text []byte, n int32, size int, base int32, zero byte) []byte {
	start := len(text)
	for range size {
		text = append(text, 0)
	}
	for i := start + size - 1; i >= start; i-- {
		text[i] = zero + byte(n%base)
		n /= base
	}
	return text
}

// generated returns the token at a position of the answer to a prompt: a
// space, and consonant, vowel, consonant.
func generated(answer uint64, position int) int32 {
	const consonants, vowels = "bcdfghjklmnpqrstvwxyz", "aeiou"
	x := mix(answer + uint64(position))
	first := consonants[x%uint64(len(consonants))]
	middle := vowels[x>>16%uint64(len(vowels))]
	last := consonants[x>>32%uint64(len(consonants))]
	return firstSpace3 + (int32(first-'a')*26+int32(middle-'a'))*26 + int32(last-'a')
}

// A chatMessage is one turn of a conversation, its content as plain text.
type chatMessage struct{ role, content string }

// chatTokens applies the chat template: role, content, end for each message,
// and at last the assistant's role, so that an earlier prompt with its answer
// is a prefix of the next turn.
func chatTokens(messages []chatMessage, generationPrompt bool) []int32 {
	var tokens []int32
	for _, m := range messages {
		switch m.role {
		case "system", "developer":
			tokens = append(tokens, specialSystem)
		case "assistant":
			tokens = append(tokens, specialAssistant)
		case "tool":
			tokens = append(tokens, specialTool)
		default:
			tokens = append(tokens, specialUser)
		}
		tokens = append(appendTokens(tokens, m.content), specialEnd)
	}
	if generationPrompt {
		tokens = append(tokens, specialAssistant)
	}
	return tokens
}
