package steps

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// What a recorded command prints goes where it went before, and to the record.
func TestRecorded(t *testing.T) {
	var out, errs, seen bytes.Buffer
	var argv []string
	code, said := 0, errors.New("never")
	env := &Env{Record: func(a []string) *Recording {
		argv = a
		return &Recording{Stdout: &out, Stderr: &errs, End: func(c int, err error) { code, said = c, err }}
	}}
	cmd := exec.Command("/bin/sh", "-c", "echo a; echo b >&2; exit 3")
	cmd.Stdout = &seen
	ended := env.Recorded(cmd)
	ended(cmd.Run())
	if seen.String() != "a\n" || out.String() != "a\n" || errs.String() != "b\n" || code != 3 || said != nil || len(argv) != 3 {
		t.Errorf("seen %q, recorded %q and %q, code %d, %v, %q", seen.String(), out.String(), errs.String(), code, said, argv)
	}
	cmd = exec.Command("/no/such/program")
	ended = env.Recorded(cmd)
	ended(cmd.Run())
	if code != -1 || said == nil || !strings.Contains(said.Error(), "no such file") {
		t.Errorf("code %d, %v", code, said)
	}
	// Where nobody records, a command runs all the same.
	r := (&Env{}).Command("x")
	if _, err := io.WriteString(r.Stdout, "x"); err != nil {
		t.Error(err)
	}
	r.End(0, nil)
}
