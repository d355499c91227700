package ncu

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// groupedRE is a number with commas between its thousands, as ncu prints in
// the C locale.
var groupedRE = regexp.MustCompile(`^-?\d{1,3}(,\d{3})+(\.\d+)?$`)

// parseNumber reads a value. Other locales write 65,77 or 27.595.520, which
// cannot be told from thousands with certainty, so they are refused.
func parseNumber(text string) (value float64, known bool, err error) {
	switch strings.ToLower(text) {
	case "", "n/a", "nan", "-nan", "inf", "-inf":
		return 0, false, nil
	}
	plain := text
	if groupedRE.MatchString(text) {
		plain = strings.ReplaceAll(text, ",", "")
	}
	v, err := strconv.ParseFloat(plain, 64)
	if err != nil || strings.ContainsAny(plain, "xXpP_") {
		return 0, false, fmt.Errorf("%q is not a number of the C locale: run ncu with LC_ALL=C", text)
	}
	return v, true, nil
}

// base returns the factor from a unit to its base: ns, byte, %, or none.
func base(unit string) (dimension string, factor float64, ok bool) {
	switch u := strings.ToLower(strings.TrimSpace(unit)); u {
	case "ns", "nsecond", "nanosecond":
		return "ns", 1, true
	case "us", "usecond", "microsecond":
		return "ns", 1e3, true
	case "ms", "msecond", "millisecond":
		return "ns", 1e6, true
	case "s", "second", "sec":
		return "ns", 1e9, true
	case "byte", "b":
		return "byte", 1, true
	case "kbyte":
		return "byte", 1e3, true
	case "mbyte":
		return "byte", 1e6, true
	case "gbyte":
		return "byte", 1e9, true
	case "tbyte":
		return "byte", 1e12, true
	case "%", "percent", "pct":
		return "%", 1, true
	case "", "inst", "op", "ops":
		return "", 1, true
	}
	return "", 0, false
}
