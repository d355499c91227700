package sol

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pipeline/internal/yaml"
)

const root = "../.."

// No peak of a GPU is written anywhere but in the ceilings: not as a number in
// Go, and not under a name in a spec. A number counts as a peak if it is one of
// the file's with three digits that tell (989.4, 2250), or any of them in its
// base unit (8e12). Tests may write numbers: that is what they compare with.
func TestNoInlinedPeaks(t *testing.T) {
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	peaks := peakNumbers(c)
	if peaks[989.4] == "" || peaks[8e12] == "" || peaks[3.35e12] == "" || peaks[8] != "" {
		t.Fatal("the test does not know what a peak is")
	}
	seen := 0
	walk(t, ".go", func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		seen++
		for place, number := range numbersIn(t, path) {
			if figure, is := peaks[number]; is {
				t.Errorf("%s: %v is %s: look it up by its key", place, number, figure)
			}
		}
	})
	if seen < 100 {
		t.Errorf("only %d Go files were read", seen)
	}
}

func TestNoInlinedPeaksInSpecs(t *testing.T) {
	seen := 0
	walk(t, ".yaml", func(path string) {
		if filepath.Base(path) == "sol-ceilings.yaml" || strings.Contains(path, "testdata") {
			return
		}
		seen++
		src, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		tree, err := yaml.Parse(path, src)
		if err == nil && tree.Get("schema") != nil && tree.Get("schema").Text == CeilingsSchema {
			return // a file of one's own: there they stand by right
		}
		if err == nil && MayInline(src) && names(tree) {
			t.Errorf("%s names a peak", path)
		}
	})
	if seen == 0 {
		t.Error("no spec was read")
	}
}

func names(n *yaml.Node) bool {
	for _, pair := range n.Map {
		if RefuseInline("", pair.Key.Text, "") != nil || names(pair.Value) {
			return true
		}
	}
	for _, e := range n.List {
		if names(e) {
			return true
		}
	}
	return false
}

var isRateRE = regexp.MustCompile(`(_tbps|_tbps_clocked|_gbps_dir)$|\.dense_`)

// peakNumbers maps the numbers that give a peak away to what they are.
func peakNumbers(c *Ceilings) map[float64]string {
	out := map[float64]string{}
	for path, v := range c.figures {
		if v == nil || !isRateRE.MatchString(path) || strings.HasSuffix(path, ".pcie_gbps_dir") { // 32, 64 and 128 are numbers of many things
			continue
		}
		unit := tera
		if strings.HasSuffix(path, "_gbps_dir") {
			unit = giga
		}
		out[*v*unit] = path
		if digits := strings.Trim(strings.Replace(strconv.FormatFloat(*v, 'f', -1, 64), ".", "", 1), "0"); len(digits) >= 3 {
			out[*v], out[*v*1e3] = path, path
		}
	}
	return out
}

func walk(t *testing.T, ext string, each func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 {
			return filepath.SkipDir
		}
		if err == nil && filepath.Ext(path) == ext {
			rel, _ := filepath.Rel(root, path)
			each(rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func numbersIn(t *testing.T, path string) map[token.Position]float64 {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, filepath.Join(root, path), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[token.Position]float64{}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && (lit.Kind == token.INT || lit.Kind == token.FLOAT) {
			if v, err := strconv.ParseFloat(strings.ReplaceAll(lit.Value, "_", ""), 64); err == nil && !math.IsInf(v, 0) {
				out[files.Position(lit.Pos())] = v
			}
		}
		return true
	})
	return out
}
