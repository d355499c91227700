package aiperf

import (
	"strings"

	"pipeline/internal/command"
	"pipeline/internal/redact"
)

// redacted stands for what is secret.
const redacted = "<redacted>"

// redactCommand takes secrets out of a command line. AIPerf does so itself by
// now; the first versions did not.
func redactCommand(line string) string {
	words := splitCommand(line)
	hide := false
	for i, word := range words {
		name, value, assigned := strings.Cut(word, "=")
		switch {
		case hide:
			words[i] = redacted
			hide = false
		case strings.HasPrefix(word, "-H") && len(word) > len("-H"):
			words[i] = "-H" + redacted
		case word == "-H" || strings.HasPrefix(name, "-") && (redact.IsSecretName(name) || strings.Contains(name, "header")):
			if assigned && value != "" {
				words[i] = name + "=" + redacted
			}
			hide = !assigned
		}
	}
	return command.Quote(words)
}

// splitCommand splits a command line at its blanks, as a shell does.
func splitCommand(line string) []string {
	var words []string
	var word strings.Builder
	quote, open, escaped := rune(0), false, false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if open || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
		}
	}
	if open || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}
