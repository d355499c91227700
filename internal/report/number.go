package report

import (
	"math"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// number prints a value with three or four digits that count.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a >= 999.5:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.0995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func thousands(s string) string {
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// withSpread prints a number of a row, with its deviation over trials where
// there is one. A number that was not measured is a dash, never a zero.
func withSpread(r perf.Row, column string) string {
	v, ok := r.Float(column)
	if !ok {
		return "–"
	}
	if _, has := r.Schema().Column(column + "_std"); has {
		if std, ok := r.Float(column + "_std"); ok {
			return number(v) + " ± " + spread(std, v)
		}
	}
	return number(v)
}

// spread prints a deviation with the decimals of its value, or with more where
// it would vanish.
func spread(std, v float64) string {
	if std == 0 {
		return "0"
	}
	_, decimals, _ := strings.Cut(number(v), ".")
	if text := strconv.FormatFloat(std, 'f', len(decimals), 64); strings.Trim(text, "0.") != "" {
		return thousandsOf(text)
	}
	return number(std)
}

func thousandsOf(text string) string {
	whole, rest, dot := strings.Cut(text, ".")
	if dot {
		return thousands(whole) + "." + rest
	}
	return thousands(whole)
}
