package perf

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pipeline/internal/stat"
)

// docTable returns the rows of the table between <!-- name --> and <!-- end -->.
func docTable(t *testing.T, name string) [][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/verdict.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)<!-- ` + name + ` -->\n(.*?)<!-- end -->`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("docs/verdict.md has no table %q", name)
	}
	var rows [][]string
	for line := range strings.Lines(strings.TrimSpace(string(m[1]))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows[2:] // below its head
}

// The page lists the gates that there are, in their own words.
func TestDocGates(t *testing.T) {
	rows, gates := docTable(t, "gates"), Gates()
	if len(rows) != len(gates) {
		t.Fatalf("%d gates are listed, there are %d", len(rows), len(gates))
	}
	for i, g := range gates {
		if rows[i][0] != g.Code || rows[i][1] != g.Rule {
			t.Errorf("gate %d is listed as %q, and is %s %q", i, rows[i], g.Code, g.Rule)
		}
	}
}

func TestDocConstants(t *testing.T) {
	for _, r := range docTable(t, "half widths") {
		n, _ := strconv.Atoi(r[0])
		if want := fmt.Sprintf("%.3f", stat.QuantileT(0.975, float64(n-1))/math.Sqrt(float64(n))); r[1] != want {
			t.Errorf("the half width for %d trials is given as %s, and is %s", n, r[1], want)
		}
	}
	for _, r := range docTable(t, "least p") {
		n, _ := strconv.Atoi(r[0])
		if want := strconv.FormatFloat(math.Round(1e4*stat.RankSumLeast(n, n))/1e4, 'f', -1, 64); r[1] != want {
			t.Errorf("the least p for %d trials is given as %s, and is %s", n, r[1], want)
		}
	}
}

// The worked example, worked out by the program.
func TestDocExample(t *testing.T) {
	given := map[string]string{}
	for _, r := range docTable(t, "example") {
		given[r[0]] = r[1]
	}
	values := func(name string) []float64 {
		var out []float64
		for s := range strings.SplitSeq(given[name], ", ") {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return out
	}
	compare := func(tests int) Finding {
		o := onQuant
		o.Tests = tests
		a, b := side(t, "nvfp4", nvfp4, map[int][]float64{16: values("A")}), side(t, "fp8", nil, map[int][]float64{16: values("B")})
		return Compare(a, b, o).Pairs[0].Findings[0]
	}
	one, twelve := compare(1), compare(12)
	for name, got := range map[string]float64{
		"mean of A": one.A.Mean, "deviation of A": *one.A.Std, "CV of B, %": 100 * *one.B.Std / one.B.Mean,
		"effect of A over B, %": *one.Effect, "its interval, low, %": *one.Low, "its interval, high, %": *one.High,
		"p": *one.P, "p after correction over 12 tests": *twelve.PHolm, "p by rank sum": *one.PRank,
		"smallest detectable effect, 1 test, %": *one.Detectable, "smallest detectable effect, 12 tests, %": *twelve.Detectable,
		"effect that counts, %": one.Needed,
	} {
		if want := values(name)[0]; math.Abs(got-want) > 1e-4*math.Abs(want) {
			t.Errorf("%s is given as %v, and is %v", name, want, got)
		}
	}
	if string(twelve.Outcome) != given["outcome"] {
		t.Errorf("the outcome is given as %s, and is %s", given["outcome"], twelve.Outcome)
	}
	if len(given) != 15 {
		t.Errorf("the example has %d quantities, and 15 are checked", len(given))
	}
}
