package zymtrace

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"pipeline/internal/profile"
)

func classifier(t testing.TB) *profile.Classifier {
	t.Helper()
	c, err := profile.NewClassifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gpuTime(t *testing.T, name string) *profile.GPUTime {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(Auto, text, classifier(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := profile.NewGPUTime(name, r.Unit, text, r.Entries, classifier(t))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func shares(list []profile.Share) map[string]float64 {
	m := map[string]float64{}
	for _, s := range list {
		m[s.Name] = s.Amount
	}
	return m
}

func sameShares(t *testing.T, what string, got []profile.Share, want map[string]float64) {
	t.Helper()
	m := shares(got)
	for name, v := range want {
		if m[name] != v {
			t.Errorf("%s: %s has %g, want %g", what, name, m[name], v)
		}
	}
	if len(m) != len(want) {
		t.Errorf("%s: %v, want %v", what, m, want)
	}
}

func TestTable(t *testing.T) {
	g := gpuTime(t, "kernels.tsv")
	if g.Unit != profile.Samples || g.Total != 1000 || g.Distinct != 6 {
		t.Errorf("%g %s of %d kernels", g.Total, g.Unit, g.Distinct)
	}
	sameShares(t, "categories", g.Categories, map[string]float64{"NCCL": 120, "MoE": 580, "Attention": 150, "GEMM": 100, profile.Unresolved: 40, profile.Other: 10})
	sameShares(t, "GPUs", g.GPUs, map[string]float64{"GPU-a": 580, "GPU-b": 420})
	if first := g.Categories[0]; first.Name != "MoE" || first.Share != 0.58 {
		t.Errorf("the largest category is %+v", first)
	}
}

// A table of categories is taken as it is.
func TestTableOfCategories(t *testing.T) {
	r, err := Parse(Auto, []byte("category,samples\nFMHA,30\nBMM-NVFP4,70\n"), classifier(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := profile.NewGPUTime("x", r.Unit, nil, r.Entries, classifier(t))
	if err != nil || len(g.Kernels) != 0 {
		t.Errorf("kernels %v, error %v", g.Kernels, err)
	}
	sameShares(t, "categories", g.Categories, map[string]float64{"FMHA": 30, "BMM-NVFP4": 70})
}

// The report of nsys has nanoseconds; its first column, Time (%), is no amount.
// The sums were made with a spreadsheet's rules: all lines, and those whose
// name contains fmha or flash.
func TestNsys(t *testing.T) {
	g := gpuTime(t, "cuda_gpu_kern_sum_dsocr.csv")
	if g.Unit != profile.Nanoseconds || g.Distinct != 113 {
		t.Errorf("%d kernels in %s", g.Distinct, g.Unit)
	}
	if g.Total != 4946064742 {
		t.Errorf("total %.0f", g.Total)
	}
	if got := shares(g.Categories)["Attention"]; got != 268917607 {
		t.Errorf("attention %.0f", got)
	}
	if len(g.Kernels) != profile.MostKernels || g.Kernels[0].Amount != 1231822285 || g.Kernels[0].Category != "GEMM" {
		t.Errorf("%d kernels, the first %+v", len(g.Kernels), g.Kernels[0])
	}
}

func TestFolded(t *testing.T) {
	g := gpuTime(t, "stacks.folded")
	sameShares(t, "categories", g.Categories, map[string]float64{"MoE": 30, "Attention": 12, profile.Other: 5, "NCCL": 3})
	sameShares(t, "kernels", g.Kernels, map[string]float64{"fused_moe_kernel": 30, "flash_fwd_splitkv_kernel": 12, "something_else": 5, "ncclDevKernel_AllReduce": 3})
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"frame,value\na,1\n":           "has no column of names",
		"kernel,value\na,1\n":          "none of amounts",
		"kernel,samples\na,1\nb,-2\n":  `line 3: "-2" is no amount`,
		"kernel,samples\na\n":          `"" is no amount`,
		"kernel,samples\na,NaN\n":      "is no amount",
		"a;b 3\na;b\n":                 "line 2",
		"a;b 3\na;b 1.5\n":             "line 2",
		"kernel,samples\na,Infinity\n": "is no amount",
	} {
		if _, err := Parse(Auto, []byte(text), classifier(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
	if _, err := Parse("xml", nil, classifier(t)); err == nil {
		t.Error("an unknown form is taken")
	}
	for _, text := range []string{"", "kernel,samples\n", "\n"} {
		if r, err := Parse(Auto, []byte(text), classifier(t)); err != nil || !r.Empty() {
			t.Errorf("%q: %v, error %v", text, r, err)
		}
	}
}

func TestQueryCheck(t *testing.T) {
	const sql = "SELECT kernel, count() AS samples FROM e WHERE t >= {from_unix} AND t < {to_unix} GROUP BY kernel FORMAT TSVWithNames"
	for _, c := range []struct{ url, sql, want string }{
		{"http://h:8123", sql, ""},
		{"h:8123", sql, "is no address"},
		{"http://u:p@h:8123", sql, "environment variables"},
		{"http://h:8123", strings.Replace(sql, "{to_unix}", "now()", 1), "does not limit the time"},
		{"http://h:8123", strings.Replace(sql, "{to_unix}", "{until}", 1), "the SQL has {until}"},
		{"http://h:8123", strings.Replace(sql, "TSVWithNames", "TSV", 1), "FORMAT TSVWithNames"},
	} {
		err := (&Query{URL: c.url, SQL: c.sql}).Check()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.url, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// The window holds whole seconds around it, so that no sample of it is lost.
func TestQueryWindow(t *testing.T) {
	from := time.Unix(1000, 900_000_000)
	q := Query{SQL: "{from_unix} {to_unix} {from_unix_ns} {to_unix_ns} WithNames", From: from, To: from.Add(2200 * time.Millisecond)}
	if text, err := q.text(); err != nil || text != "1000 1004 1000900000000 1003100000000 WithNames" {
		t.Errorf("text %q, error %v", text, err)
	}
}

// ClickHouse may fail after it has begun to answer.
func TestErrorWithinAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("kernel\tsamples\na\t1\nCode: 241, e.displayText() = DB::Exception: Memory limit exceeded\n"))
	}))
	defer s.Close()
	q := Query{URL: s.URL, SQL: "{from_unix} {to_unix} FORMAT TSVWithNames"}
	if _, err := q.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "Memory limit exceeded") {
		t.Errorf("error %v", err)
	}
}

// answers returns one text after another, and the last one from then on.
func answers(texts ...string) func(context.Context) ([]byte, error) {
	i := -1
	return func(context.Context) ([]byte, error) {
		i = min(i+1, len(texts)-1)
		if texts[i] == "fail" {
			return nil, errors.New("connection refused")
		}
		return []byte("kernel\tsamples\n" + texts[i]), nil
	}
}

func TestAwait(t *testing.T) {
	long := Patience{Limit: time.Minute, Poll: time.Microsecond}
	short := Patience{Poll: time.Hour}
	for _, c := range []struct {
		name    string
		ask     func(context.Context) ([]byte, error)
		p       Patience
		total   float64
		asked   int
		settled bool
		err     string
	}{
		{"there and still", answers("a\t5\n"), long, 5, 2, true, ""},
		{"empty at first, then growing", answers("", "", "a\t2\n", "a\t7\n", "a\t7\n"), long, 7, 5, true, ""},
		{"an error between", answers("fail", "a\t2\n", "fail", "a\t2\n"), long, 2, 4, true, ""},
		{"never there", answers(""), short, 0, 1, false, ""},
		{"still growing at the limit", answers("a\t2\n"), short, 2, 1, false, ""},
		{"only errors", answers("fail"), short, 0, 1, false, "connection refused"},
	} {
		a, err := Await(t.Context(), c.ask, classifier(t), c.p)
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v", c.name, err)
		}
		if a.Reading.Total() != c.total || a.Asked != c.asked || a.Settled != c.settled {
			t.Errorf("%s: total %g, asked %d, settled %t", c.name, a.Reading.Total(), a.Asked, a.Settled)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Await(ctx, answers(""), classifier(t), long); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"kernels.tsv", "stacks.folded"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(Auto, text)
	}
	f.Add(Table, []byte("Time (%),Total Time (ns),Name\n1,2,\"a, b\"\n"))
	f.Add(Folded, []byte("a;b 1\n"))
	c := classifier(f)
	f.Fuzz(func(t *testing.T, form string, text []byte) {
		r, err := Parse(form, text, c)
		if err != nil {
			return
		}
		g, err := profile.NewGPUTime("fuzz", r.Unit, text, r.Entries, c)
		if err != nil {
			return
		}
		sum := 0.0
		for _, s := range g.Categories {
			sum += s.Share
		}
		if g.Total > 0 && math.Abs(sum-1) > 1e-6 {
			t.Errorf("shares add up to %g", sum)
		}
	})
}
