package engine

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/engine/journal"
	"pipeline/steps"
)

// A command is four files: its line, what it prints and how it ends, without
// secrets, wherever they stand.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	c := &commands{dir: filepath.Join(dir, journal.CommandsDir), now: func() time.Time { at = at.Add(500 * time.Millisecond); return at }}
	scrub := &scrubber{}
	scrub.add("s3cretvalue")
	env := &steps.Env{Record: func(argv []string) *steps.Recording { return c.begin("cells[c=4]", argv, scrub) }}

	cmd := exec.Command("/bin/sh", "-c", `printf 'key s3cret'; printf 'value\nBearer abcdefghijkl\n'; echo oh >&2; exit 3`, "--api-key", "plain", "a b")
	var seen strings.Builder
	cmd.Stdout = &seen
	ended := env.Recorded(cmd)
	ended(cmd.Run())
	open := env.Command("never", "ends")
	if _, err := open.Stdout.Write([]byte("half a line")); err != nil {
		t.Fatal(err)
	}
	if err := c.settle(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if seen.String() != "key s3cretvalue\nBearer abcdefghijkl\n" {
		t.Errorf("the step does not see what the command prints: %q", seen.String())
	}
	names, err := journal.Commands(dir)
	if err != nil || strings.Join(names, " ") != "0001-cells[c=4] 0002-cells[c=4]" {
		t.Fatalf("%q %v", names, err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, journal.CommandsDir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(names[0] + journal.CommandStdout); got != "key [secret]\nBearer [redacted]\n" {
		t.Errorf("stdout: %q", got)
	}
	if got := read(names[0] + journal.CommandStderr); got != "oh\n" {
		t.Errorf("stderr: %q", got)
	}
	line := read(names[0] + journal.CommandLine)
	if !strings.HasPrefix(line, "/bin/sh -c 'printf '\\''key s3cret") || !strings.HasSuffix(line, " --api-key '[redacted]' 'a b'\n") {
		t.Errorf("line: %s", line)
	}
	var end journal.CommandEnd
	if err := json.Unmarshal([]byte(read(names[0]+journal.CommandExit)), &end); err != nil {
		t.Fatal(err)
	}
	if end.Code != 3 || end.Node != "cells[c=4]" || end.Error != "" || end.Seconds <= 0 || end.Args[3] != "--api-key" {
		t.Errorf("%+v", end)
	}
	if _, err := os.Stat(filepath.Join(dir, journal.CommandsDir, names[1]+journal.CommandExit)); !os.IsNotExist(err) {
		t.Errorf("a command that did not end has an exit file: %v", err)
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	c := &commands{dir: dir, now: time.Now}
	env := &steps.Env{Record: func(argv []string) *steps.Recording { return c.begin("x", argv, &scrubber{}) }}
	cmd := exec.Command("/no/such/program")
	ended := env.Recorded(cmd)
	ended(cmd.Run())
	var end journal.CommandEnd
	text, err := os.ReadFile(filepath.Join(dir, "0001-x"+journal.CommandExit))
	if err = errors.Join(err, json.Unmarshal(text, &end)); err != nil || end.Code != -1 || !strings.Contains(end.Error, "no such file") {
		t.Errorf("%+v %v", end, err)
	}
	(&steps.Env{}).Command("x").End(0, nil) // where nobody records
	if err := c.settle(time.Millisecond); err != nil {
		t.Error(err)
	}
	broken := &commands{dir: filepath.Join(dir, "0001-x"+journal.CommandExit, "no folder"), now: time.Now}
	broken.begin("x", []string{"y"}, &scrubber{}).End(0, nil)
	if err := broken.settle(time.Millisecond); err == nil {
		t.Error("that nothing could be kept is not said")
	}
}
