package report

import (
	"bytes"
	"flag"
	"html"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pipeline/lake/perf"
)

var (
	update   = flag.Bool("update", false, "write the golden files")
	htmlFile = flag.String("html", "", "write the page of the sample there, to look at it")
)

func render(t *testing.T, in Input) *Report {
	t.Helper()
	r, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sample() Input {
	return Input{Title: "GLM-5.1 FP8 on B200, TP8 and TP4", Campaign: "glm-fp8", Intent: "How many streams does one node serve?", Rows: sampleRows()}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and look at the diff. Got:\n%s", path, got)
	}
}

// pageText is the page without its tags, a line a block: what a person reads.
func visible(page []byte) string {
	text := regexp.MustCompile(`(?s)<style>.*?</style>|<svg.*?</svg>`).ReplaceAllString(string(page), "")
	text = regexp.MustCompile(`</(p|h1|h2|h3|li|tr|div|figcaption|summary)>|<br>`).ReplaceAllString(text, "\n")
	text = regexp.MustCompile(`</t[dh]>|</dt>`).ReplaceAllString(text, " | ")
	text = html.UnescapeString(regexp.MustCompile(`(?s)<[^>]*>`).ReplaceAllString(text, ""))
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestGolden(t *testing.T) {
	r := render(t, sample())
	status, err := r.Status.JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report_status.json", status)
	golden(t, "report.txt", []byte(visible(r.HTML)))
	if *htmlFile != "" {
		if err := os.WriteFile(*htmlFile, r.HTML, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The page does not depend on the order in which rows come.
func TestSameBytes(t *testing.T) {
	want := render(t, sample())
	for seed := range uint64(5) {
		in := sample()
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(in.Rows), func(i, j int) { in.Rows[i], in.Rows[j] = in.Rows[j], in.Rows[i] })
		if got := render(t, in); !bytes.Equal(got.HTML, want.HTML) {
			t.Fatalf("seed %d: shuffled rows give another page", seed)
		}
	}
}

func TestPageHoldsEveryCellAndDoubt(t *testing.T) {
	in := sample()
	text := visible(render(t, in).HTML)
	for _, r := range in.Rows {
		if !strings.Contains(text, r.Text("cell_id")) {
			t.Errorf("the page does not name cell %s", r.Text("cell_id"))
		}
		for _, d := range r.List("doubts") {
			if !strings.Contains(text, d) {
				t.Errorf("the page does not hold the doubt %q of %s", d, r.Text("cell_id"))
			}
		}
		if reason := r.Text("status_reason"); !strings.Contains(text, reason) {
			t.Errorf("the page does not hold the reason %q", reason)
		}
	}
	for name, value := range sharedFields(in.Rows) {
		if value == perf.Unknown || value == "" {
			value = "" // listed by name
		} else {
			name += " | "
		}
		if !strings.Contains(text, name+value) {
			t.Errorf("the page does not state the shared field %s=%s", name, value)
		}
	}
}

var external = regexp.MustCompile(`(?i)https?:|//[a-z]|\bsrc\s*=|@import|url\(|<link|<script|<iframe`)

func TestPageNeedsNothingElse(t *testing.T) {
	page := render(t, sample()).HTML
	if found := external.Find(page); found != nil {
		t.Errorf("the page refers to something outside: %q", found)
	}
}

func TestHostileTextIsEscaped(t *testing.T) {
	in := sample()
	in.Title = `<script>alert(1)</script>`
	for _, r := range in.Rows {
		r.SetText("config", `"><img onerror=x>`)
		r.SetList("doubts", []string{`</title><script>`})
	}
	page := string(render(t, in).HTML)
	for _, bad := range []string{"<script>", "<img"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestSimulatedIsSaid(t *testing.T) {
	in := sample()
	r := render(t, in)
	if !r.Status.Simulated || strings.Count(string(r.HTML), "SIMULATED") < len(in.Rows) {
		t.Error("a simulated report does not say so in every row")
	}
	for _, row := range in.Rows {
		row.SetBool("simulated", false)
	}
	if r := render(t, in); r.Status.Simulated || bytes.Contains(r.HTML, []byte("SIMULATED")) {
		t.Error("a report of real rows says SIMULATED")
	}
}

// Only what all rows share is stated once.
func TestSharedFields(t *testing.T) {
	shared := sharedFields(sampleRows())
	if shared["quant"] != "fp8" || shared["image"] != perf.Unknown {
		t.Errorf("quant and image are shared by all rows, got %v", shared)
	}
	for _, name := range []string{"tp", "concurrency", "num_prompts", "gpu_count"} {
		if v, ok := shared[name]; ok {
			t.Errorf("%s differs between rows and is stated once as %s", name, v)
		}
	}
}

func TestNoNumbers(t *testing.T) {
	rows := []perf.Row{perf.RowOfGap(perf.Origin{Cell: []perf.Coord{{Axis: "concurrency", Value: "4"}}, Gap: "failed: connection refused"})}
	r := render(t, Input{Title: "empty", Rows: rows})
	var omitted []string
	for _, p := range r.Status.OmittedPages() {
		omitted = append(omitted, p.ID)
		if p.Why == "" || p.HowToGet == "" {
			t.Errorf("page %s is omitted without why or how to get it", p.ID)
		}
	}
	if want := []string{"2", "3", "4", "6", "6b", "7", "8", "9"}; !slices.Equal(omitted, want) {
		t.Errorf("omitted pages are %v, want %v", omitted, want)
	}
	if len(r.Status.Headline) != 0 || !strings.Contains(visible(r.HTML), "connection refused") {
		t.Error("a report without numbers has a headline, or hides the reason")
	}
	if _, err := Render(Input{Title: "none"}); err == nil {
		t.Error("a report of no rows is no error")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1234567: "1,234,567", 999.7: "1,000", 412.4: "412", 41.25: "41.2", 7.0: "7.00", 0.5: "0.50", 0.0123: "0.012", -1500: "-1,500"} {
		if got := number(v); got != want {
			t.Errorf("number(%g) = %q, want %q", v, got, want)
		}
	}
	for _, c := range []struct {
		std, v float64
		want   string
	}{{0.2, 41.25, "0.2"}, {0.001, 41.25, "0.001"}, {12, 4000, "12"}, {0, 5, "0"}, {1500, 40000, "1,500"}} {
		if got := spread(c.std, c.v); got != c.want {
			t.Errorf("spread(%g, %g) = %q, want %q", c.std, c.v, got, c.want)
		}
	}
}
