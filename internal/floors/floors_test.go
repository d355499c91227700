package floors_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A file is a Go file of the module that is no test.
type file struct {
	name string // relative to the module
	pkg  string // its folder, relative to the module
	ast  *ast.File
	set  *token.FileSet
}

func (f file) imports() (paths []string) {
	for _, i := range f.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err) // the parser has checked it
		}
		paths = append(paths, p)
	}
	return paths
}

// files parses all Go files that are no tests. Folders that the go command
// ignores are left out.
func files(t *testing.T) (out []file) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && p != root && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		out = append(out, file{rel, path.Dir(rel), f, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var floorRE = regexp.MustCompile(`^floor (\d+): (.*)$`)

// floors reads the block of ARCHITECTURE.md that starts with ```FLOORS.
func floors(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(b, []byte("```FLOORS\n"))
	block, _, ok2 := bytes.Cut(rest, []byte("```"))
	if !ok || !ok2 {
		t.Fatal("ARCHITECTURE.md has no block ```FLOORS")
	}
	out := make(map[string]int)
	for line := range strings.Lines(string(block)) {
		m := floorRE.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("ARCHITECTURE.md: not of the form \"floor N: a, b\": %s", line)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		for pkg := range strings.SplitSeq(m[2], ",") {
			pkg = strings.TrimSpace(pkg)
			if _, twice := out[pkg]; twice {
				t.Errorf("ARCHITECTURE.md: %s is on two floors", pkg)
			}
			out[pkg] = n
		}
	}
	return out
}

func TestImportsGoDown(t *testing.T) {
	floor := floors(t)
	seen := make(map[string]bool)
	for _, f := range files(t) {
		mine, ok := floor[f.pkg]
		if !ok && !seen[f.pkg] {
			t.Errorf("%s is on no floor of ARCHITECTURE.md", f.pkg)
		}
		seen[f.pkg] = true
		for _, p := range f.imports() {
			pkg, ours := strings.CutPrefix(p, "pipeline/")
			if below, known := floor[pkg]; ours && ok && known && below >= mine {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go to a lower floor only", f.name, mine, pkg, below)
			}
		}
	}
	for pkg := range floor {
		if !seen[pkg] {
			t.Errorf("ARCHITECTURE.md: there is no package %s", pkg)
		}
	}
}

// Each heavy dependency has one importer, so that moving off it is one
// package's work.
func TestHeavyDependenciesHaveOneImporter(t *testing.T) {
	only := map[string]string{
		"github.com/goccy/go-yaml":        "internal/yaml",
		"github.com/expr-lang/expr":       "pipelines",
		"github.com/parquet-go":           "internal/transcript",
		"github.com/dominikbraun/graph":   "pipelines",
		"github.com/marcboeker/go-duckdb": "lake",
		"github.com/duckdb/duckdb-go":     "lake",
		"github.com/spf13/cobra":          "cmd/pipeline",
		"golang.org/x/term":               "cmd/pipeline",
		"github.com/prometheus":           "internal/prom",
		"gonum.org/v1/gonum":              "internal/stat",
		"k8s.io/client-go":                "internal/kube",
	}
	for _, f := range files(t) {
		for _, p := range f.imports() {
			for dep, importer := range only {
				if (p == dep || strings.HasPrefix(p, dep+"/")) && f.pkg != importer {
					t.Errorf("%s imports %s: only %s does", f.name, p, importer)
				}
			}
		}
	}
}

// isKind reports whether a folder holds a kind.
func isKind(pkg string) bool {
	name, ok := strings.CutPrefix(pkg, "steps/")
	return ok && name != "all" && name != "stepstest"
}

func TestWhoKnowsWhom(t *testing.T) {
	for _, f := range files(t) {
		for _, p := range f.imports() {
			pkg, ours := strings.CutPrefix(p, "pipeline/")
			if !ours {
				continue
			}
			bad := ""
			switch {
			case isKind(f.pkg) && pkg != "steps" && pkg != "lake/perf" && pkg != "configs" && !strings.HasPrefix(pkg, "internal/"):
				bad = "a kind imports steps, lake/perf, configs and internal/* only"
			case (f.pkg == "engine" || strings.HasPrefix(f.pkg, "engine/") || f.pkg == "pipelines") && (strings.HasPrefix(pkg, "steps/") || pkg == "lake"):
				bad = "engine and pipelines know no kind and no lake"
			case strings.HasPrefix(f.pkg, "internal/") && (strings.HasPrefix(pkg, "steps") || strings.HasPrefix(pkg, "engine") || pkg == "pipelines" || pkg == "lake"):
				bad = "internal packages know nothing of campaigns"
			}
			if bad != "" {
				t.Errorf("%s imports %s: %s", f.name, pkg, bad)
			}
		}
	}
}

// The environment, the terminal and the end of the process belong to
// cmd/pipeline; the clock to it and to what measures time or writes it down.
func TestWorldBelongsToCmd(t *testing.T) {
	clock := []string{"cmd/pipeline", "engine", "engine/store", "internal/loadgen", "internal/vllmsim", "internal/endpoint",
		"internal/tool", "steps/cellrun", "steps/serve", "steps/stepstest"}
	laws := []struct {
		call string // package.Name
		who  []string
	}{
		{"os.Getenv", []string{"cmd/pipeline"}}, {"os.LookupEnv", []string{"cmd/pipeline"}}, {"os.Environ", []string{"cmd/pipeline"}},
		{"os.Exit", []string{"cmd/pipeline"}}, {"log.Fatal", nil}, {"log.Fatalf", nil},
		{"os.Stdout", []string{"cmd/pipeline"}}, {"os.Stderr", []string{"cmd/pipeline"}},
		{"fmt.Print", nil}, {"fmt.Println", nil}, {"fmt.Printf", nil},
		{"time.Now", clock}, {"time.Since", clock}, {"time.Until", clock},
	}
	for _, f := range files(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, law := range laws {
				if x.Name+"."+sel.Sel.Name == law.call && !slices.Contains(law.who, f.pkg) {
					t.Errorf("%s uses %s, which belongs to %v", f.set.Position(sel.Pos()), law.call, law.who)
				}
			}
			return true
		})
	}
}

// Nothing happens by being imported.
func TestNoInit(t *testing.T) {
	for _, f := range files(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.name)
			}
		}
	}
}
