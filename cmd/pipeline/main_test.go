package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is the command: scripts call "pipeline", and "pipeline"
// starts itself as the simulated endpoint.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipeline": main})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("REPO", repoRoot(t))
			env.Setenv("TZ", "UTC")
			env.Setenv("CI", "true")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     scriptCode,
			"field":    scriptField,
			"sim":      scriptSim,
			"stopsim":  scriptStopSim,
			"waitfor":  scriptWaitFor,
			"lines":    scriptLines,
			"disguise": scriptDisguise,
			"capture":  scriptCapture,
			"rows":     scriptRows,
			"hub":      hubs(t),
		},
	})
}

func repoRoot(t testing.TB) string {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// code N PROGRAM ARG… runs a program and wants its exit code to be N.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program arg…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// field FILE PATH WANT reads the last line of FILE (stdout, or a file) as JSON
// and compares the value at the dotted PATH. "*" as WANT only wants it there.
func scriptField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: field file path want")
	}
	text := strings.TrimSpace(ts.ReadFile(args[0]))
	last := text[strings.LastIndexByte(text, '\n')+1:]
	var v any
	dec := json.NewDecoder(strings.NewReader(last))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("the last line of %s is not JSON: %v\n%s", args[0], err, last)
	}
	for _, part := range strings.Split(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: no element %s of %d", args[1], part, len(x))
			}
			v = x[i]
		default:
			v = nil
		}
	}
	got := fmt.Sprint(v)
	if _, composite := v.([]any); composite || v == nil {
		b, err := json.Marshal(v)
		ts.Check(err)
		got = string(b)
	}
	if ok := got == args[2] || args[2] == "*" && v != nil; ok == neg {
		ts.Fatalf("%s is %s, want %s (negated: %t)", args[1], got, args[2], neg)
	}
}

// sim NAME ARG… starts "pipeline sim" on a free port and sets $NAME to its URL.
func scriptSim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: sim NAME arg…")
	}
	path, err := exec.LookPath("pipeline")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"sim", "--port", "0"}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("WORK"))
	cmd.Dir = ts.Getenv("WORK")
	if key := ts.Getenv("SIM_KEY"); key != "" {
		cmd.Env = append(cmd.Env, "SIM_KEY="+key)
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	stop := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err == nil {
			if err := cmd.Wait(); err != nil {
				ts.Logf("sim %s: %v", args[0], err)
			}
		}
	}
	ts.Defer(stop)
	sims[ts.Getenv("WORK")+args[0]] = stop
	address := regexp.MustCompile(`running on (http://[^ ]+)`)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			ts.Setenv(args[0], m[1])
			go drain(lines)
			return
		}
	}
	ts.Fatalf("sim ended before it said where it listens")
}

// sims holds how to stop the servers of the scripts, by work folder and name.
// Scripts run one after the other, each in a folder of its own.
var sims = map[string]func(){}

func drain(s *bufio.Scanner) {
	for s.Scan() {
	}
}

// stopsim NAME stops a server that sim started.
func scriptStopSim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stopsim NAME")
	}
	sims[ts.Getenv("WORK")+args[0]]()
}

// waitfor FILE [REGEXP] waits until a file is there and, if asked, has a match.
func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: waitfor file [regexp]")
	}
	re := regexp.MustCompile("")
	if len(args) == 2 {
		re = regexp.MustCompile(args[1])
	}
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(path); err == nil && re.Match(b) {
			return
		}
	}
	ts.Fatalf("%s did not come, or has no match of %s", args[0], re)
}

// lines FILE REGEXP N wants N lines of FILE (stdout, stderr or a file) to match.
func scriptLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: lines file regexp n")
	}
	re := regexp.MustCompile(args[1])
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if re.MatchString(strings.TrimSuffix(line, "\n")) {
			n++
		}
	}
	if want, err := strconv.Atoi(args[2]); err != nil || n != want {
		ts.Fatalf("%d lines of %s match %s, want %s", n, args[0], args[1], args[2])
	}
}

// disguise FILE OLD NEW changes bytes of a file, and keeps its size and its
// modification time.
func scriptDisguise(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || len(args[1]) != len(args[2]) {
		ts.Fatalf("usage: disguise file old new, old and new of one length")
	}
	path := ts.MkAbs(args[0])
	st, err := os.Stat(path)
	ts.Check(err)
	b, err := os.ReadFile(path)
	ts.Check(err)
	changed := strings.Replace(string(b), args[1], args[2], 1)
	if changed == string(b) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(changed), st.Mode()))
	ts.Check(os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// capture NAME FILE REGEXP sets $NAME to the first group of the first match.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture NAME file regexp")
	}
	m := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(m) < 2 {
		ts.Fatalf("%s has no match of %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}
