// Package stepstest holds a kind to the contract of package steps. A test of a
// kind is one line:
//
//	func Test(t *testing.T) { stepstest.Run(t, upper.Kind, os.DirFS("testdata")) }
//
// Each *.txtar file in the folder is a case:
//
//	-- with.json --               the parameters, as a spec would have them
//	-- in/PORT/CELL/ARTIFACT --   an input; CELL is "-" or "axis=value,axis=value"
//	-- gap/PORT/CELL --           an input that is a gap; the text is its reason
//	-- spec/PATH --               a file beside the spec, for File parameters
//	-- out/ARTIFACT --            what the step must write
//	-- error --                   or: a part of the error that it must return
//
// Each case is run in an empty working folder, and a Pure kind twice: what it
// writes must be the same, and it must leave nothing behind. A case with a
// cancelled context must return. Outputs that a case does not list are only
// required to be written, unless they are optional.
//
// If the test binary has a flag -update that is set, the out files of the
// cases are not compared but printed.
package stepstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"pipeline/internal/digest"
	"pipeline/steps"
)

// Run tests kind with all cases in the folder.
func Run(t *testing.T, kind steps.Kind, cases fs.FS) {
	t.Helper()
	Check(t, kind)
	names, err := fs.Glob(cases, "*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no case *.txtar to test the kind %s with (%v)", kind.Name, err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(cases, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(name, ".txtar"), func(t *testing.T) {
			c := parse(t, &kind, txtar.Parse(data))
			c.test(t)
		})
	}
}

// Check tests what needs no case: that the kind can be registered (each
// parameter is tagged, ports and effect fit) and that its words are there.
func Check(t *testing.T, kind steps.Kind) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatal(p)
		}
	}()
	steps.NewRegistry(kind)
	for _, p := range kind.Ports {
		if p.Name == "" || p.Doc == "" {
			t.Errorf("port %q of %s has no name or no doc", p.Name, kind.Name)
		}
	}
	for _, o := range kind.Outputs {
		if o.Doc == "" {
			t.Errorf("output %s of %s has no doc", o.Name, kind.Name)
		}
	}
	if kind.Doc == "" {
		t.Errorf("the kind %s has no doc", kind.Name)
	}
}

// A testCase is one txtar file.
type testCase struct {
	kind *steps.Kind
	with []byte
	in   map[string][]steps.Input
	out  map[string]string
	err  string // "" if it must succeed
	spec string // the folder of the spec
}

func parse(t *testing.T, kind *steps.Kind, a *txtar.Archive) *testCase {
	t.Helper()
	c := &testCase{kind: kind, with: []byte("{}"), in: map[string][]steps.Input{}, out: map[string]string{}, spec: t.TempDir()}
	data := make(map[string]map[string]string) // "port/cell" -> artifact -> bytes
	for _, f := range a.Files {
		top, rest, _ := strings.Cut(f.Name, "/")
		switch top {
		case "with.json":
			c.with = f.Data
		case "error":
			c.err = strings.TrimSpace(string(f.Data))
		case "out":
			c.out[rest] = string(f.Data)
		case "spec":
			path := filepath.Join(c.spec, filepath.FromSlash(rest))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, f.Data, 0o666)); err != nil {
				t.Fatal(err)
			}
		case "gap":
			port, cell, _ := strings.Cut(rest, "/")
			c.in[port] = append(c.in[port], steps.Input{Step: port, Cell: cellOf(cell), Gap: strings.TrimSpace(string(f.Data)),
				Open: opener(nil)})
		case "in":
			parts := strings.SplitN(rest, "/", 3)
			if len(parts) != 3 {
				t.Fatalf("%s: want in/PORT/CELL/ARTIFACT", f.Name)
			}
			at := parts[0] + "/" + parts[1]
			if data[at] == nil {
				data[at] = make(map[string]string)
			}
			data[at][parts[2]] = string(f.Data)
		default:
			t.Fatalf("%s: a case has with.json, in/, gap/, spec/, out/ and error", f.Name)
		}
	}
	for _, at := range sorted(data) {
		port, cell, _ := strings.Cut(at, "/")
		if _, ok := kind.Port(port); !ok {
			t.Fatalf("the kind %s has no port %q", kind.Name, port)
		}
		input := steps.Input{Step: port, Cell: cellOf(cell), Open: opener(data[at])}
		for _, name := range sorted(data[at]) {
			b := []byte(data[at][name])
			input.Artifacts = append(input.Artifacts, steps.Artifact{Name: name, Digest: digest.Of(b), Size: int64(len(b))})
		}
		c.in[port] = append(c.in[port], input)
	}
	return c
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func cellOf(s string) (cell []steps.Coord) {
	if s == "-" {
		return nil
	}
	for _, c := range strings.Split(s, ",") {
		axis, value, _ := strings.Cut(c, "=")
		cell = append(cell, steps.Coord{Axis: axis, Value: value})
	}
	return cell
}

func opener(arts map[string]string) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		s, ok := arts[name]
		if !ok {
			return nil, fmt.Errorf("the input has no %s", name)
		}
		return io.NopCloser(strings.NewReader(s)), nil
	}
}

func (c *testCase) test(t *testing.T) {
	empty := t.TempDir()
	t.Chdir(empty)
	got, err := c.run(t, t.Context())
	if c.err != "" {
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("error\n got %v\nwant one with %q", err, c.err)
		}
		return
	}
	var failed *steps.Failed
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	c.compare(t, got)
	if c.kind.Effect == steps.Pure {
		again, err := c.run(t, t.Context())
		if err != nil {
			t.Fatalf("second time: %v", err)
		}
		for name := range got {
			if !bytes.Equal(got[name], again[name]) {
				t.Errorf("%s: a Pure kind wrote other bytes the second time\nfirst:\n%s\nsecond:\n%s", name, got[name], again[name])
			}
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("it left something in the working folder: %v %v", left, err)
	}
	c.cancelled(t)
}

func (c *testCase) compare(t *testing.T, got map[string][]byte) {
	t.Helper()
	for _, o := range c.kind.Outputs {
		want, listed := c.out[o.Name]
		b, written := got[o.Name]
		switch {
		case !written && (listed || !o.Optional):
			t.Errorf("it did not write %s", o.Name)
		case listed && update():
			t.Logf("-- out/%s --\n%s", o.Name, b)
		case listed && string(b) != want:
			t.Errorf("%s\n got:\n%s\nwant:\n%s", o.Name, b, want)
		}
	}
	for name := range c.out {
		if !slices.ContainsFunc(c.kind.Outputs, func(o steps.Output) bool { return o.Name == name }) {
			t.Errorf("the kind %s has no output %s", c.kind.Name, name)
		}
	}
}

func update() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// cancelled checks that a step comes back when its context has ended.
func (c *testCase) cancelled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.run(t, ctx) // whether it fails is its own affair
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it does not return although its context has ended")
	}
}

// run configures a step, and runs it once in a world that has nothing in it
// but the inputs.
func (c *testCase) run(t *testing.T, ctx context.Context) (map[string][]byte, error) {
	step := c.kind.New()
	dec := json.NewDecoder(bytes.NewReader(c.with))
	dec.DisallowUnknownFields()
	if err := dec.Decode(step); err != nil {
		return nil, fmt.Errorf("with.json: %w", err)
	}
	if c, ok := step.(steps.Completer); ok {
		c.Complete()
	}
	if ch, ok := step.(steps.Checker); ok {
		if err := ch.Check(); err != nil {
			return nil, err
		}
	}
	w := &steps.Memory{Kind: c.kind, Files: make(map[string][]byte)}
	env := &steps.Env{
		Campaign: steps.Campaign{Name: "stepstest", RunID: "run", Home: t.TempDir(), Spec: "spec.yaml"},
		In:       c.in, Create: w.Create, Dir: t.TempDir(), Lease: "stepstest",
		Log:      slog.New(slog.DiscardHandler),
		Doubt:    func(string, ...any) {},
		Progress: func(steps.Progress) {},
		Secret:   func(name string) (string, error) { return "", fmt.Errorf("no secret %q", name) },
		Resolve: func(path string) string {
			if filepath.IsAbs(path) {
				return path
			}
			return filepath.Join(c.spec, path)
		},
	}
	if c.kind.Effect != steps.Pure {
		env.Now = time.Now
	}
	if h, ok := step.(steps.Holder); ok {
		_, err := h.Open(ctx, env)
		return nil, errors.Join(err, h.Close(context.WithoutCancel(ctx), env.Lease), h.Close(context.WithoutCancel(ctx), env.Lease))
	}
	err := step.(steps.Runner).Run(ctx, env)
	return w.Files, err
}
