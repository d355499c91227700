package yaml

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

var (
	decimalRE = regexp.MustCompile(`^[-+]?[0-9]+$`)
	octalRE   = regexp.MustCompile(`^0o[0-7]+$`)
	hexRE     = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	floatRE   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	old11RE   = regexp.MustCompile(`^[-+]?(0b[01_]+|0[xo]?[0-9a-fA-F_]*_[0-9a-fA-F_]*|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)$`)
	headerRE  = regexp.MustCompile(`^[|>]([1-9]?[-+]?|[-+][1-9])$`)
	anchorRE  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	specialRE = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// setPlain gives n the value that the text of an unquoted scalar has in the
// core schema of YAML 1.2. It returns what is wrong, and what to do.
func (n *Node) setPlain(text string) (msg, hint string) {
	n.Text = text
	switch text {
	case "", "~", "null", "Null", "NULL":
		n.Kind = Null
		return "", ""
	case "true", "True", "TRUE", "false", "False", "FALSE":
		n.Kind, n.Bool = Bool, text[0] == 't' || text[0] == 'T'
		return "", ""
	}
	if c := text[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		n.Kind = String
		return "", ""
	}
	switch {
	case specialRE.MatchString(text):
		return text + " is not a number that can be used here", "leave the value out, or quote it if it is text"
	case old11RE.MatchString(text):
		return text + " is a number to some YAML readers and text to others", "write plain digits, or quote it if it is text"
	case decimalRE.MatchString(text):
		return n.setInt(text)
	case octalRE.MatchString(text):
		return n.setBase(text, 8)
	case hexRE.MatchString(text):
		return n.setBase(text, 16)
	case floatRE.MatchString(text):
		return n.setFloat(text)
	}
	n.Kind = String
	return "", ""
}

func (n *Node) setInt(text string) (msg, hint string) {
	digits := strings.TrimLeft(text, "+-")
	if len(digits) > 1 && digits[0] == '0' {
		octal := ""
		if rest := strings.TrimLeft(digits, "0"); rest != "" && strings.Trim(rest, "01234567") == "" {
			octal = " as 0o" + rest + " if octal is meant,"
		}
		return text + " is octal to some YAML readers and decimal to others", "write it without the leading zero," + octal + " or quote it if it is text"
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text + " does not fit in 64 bits", "quote it if it is text"
	}
	n.Kind, n.Int = Int, v
	return "", ""
}

func (n *Node) setBase(text string, base int) (msg, hint string) {
	v, err := strconv.ParseInt(text[2:], base, 64)
	if err != nil {
		return text + " does not fit in 64 bits", "quote it if it is text"
	}
	n.Kind, n.Int = Int, v
	return "", ""
}

func (n *Node) setFloat(text string) (msg, hint string) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) {
		return text + " is too large for a number", "quote it if it is text"
	}
	n.Kind, n.Float = Float, v
	return "", ""
}

// unbalanced reports whether text opens a template that it does not close.
// The text of a $${{ is no template.
func unbalanced(text string) bool {
	i := strings.LastIndex(text, "${{")
	if i < 0 || i > 0 && text[i-1] == '$' {
		return false
	}
	return !strings.Contains(text[i:], "}}")
}

// notPlain says what is wrong with an unquoted text that the parser lets pass
// and YAML does not, "" if it is right. origin is the text as it is written.
func notPlain(text, origin string, flow bool) string {
	blank := false
	lines := strings.Split(strings.Trim(origin, " \t\n"), "\n")
	for _, line := range lines {
		blank = blank || strings.TrimSpace(line) == ""
	}
	switch {
	case text == "":
		return ""
	case strings.IndexByte(",[]{}#&*!|>'\"%@`", text[0]) >= 0:
		return "begin with " + text[:1]
	case text == "?" || strings.HasPrefix(text, "? ") || flow && text[0] == ':':
		return "begin with " + text[:1]
	case strings.Contains(text, ": ") || strings.HasSuffix(text, ":"):
		return "hold a colon at the end of a word"
	case strings.Contains(text, " #"):
		return "hold a # after a space"
	case flow && strings.ContainsAny(text, ",[]{}"):
		return "hold brackets here"
	case blank:
		return "hold an empty line"
	}
	return ""
}
