package command

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A command is four files: its line, what it prints and how it ends, without
// secrets, wherever they stand.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	c := NewRecorder(filepath.Join(dir, "commands"), func() time.Time { at = at.Add(500 * time.Millisecond); return at }, 1)
	hide := func(text string) string { return strings.ReplaceAll(text, "s3cretvalue", "[secret]") }
	cmd := exec.Command("/bin/sh", "-c", `printf 'key s3cret'; printf 'value\nBearer abcdefghijklmnop\n'; echo oh >&2; exit 3`, "--api-key", "plain", "a b")
	r := c.Begin("cells[c=4]", cmd.Args, hide)
	cmd.Stdout, cmd.Stderr = r.Stdout, r.Stderr
	if err := cmd.Run(); err == nil {
		t.Fatal("the command does not fail")
	}
	r.End(cmd.ProcessState.ExitCode(), nil)
	r.End(7, nil) // once is enough
	open := c.Begin("cells[c=4]", []string{"never", "ends"}, hide)
	if _, err := open.Stdout.Write([]byte("half a line")); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	names, err := Names(filepath.Join(dir, "commands"))
	if err != nil || strings.Join(names, " ") != "0001-cells[c=4] 0002-cells[c=4]" {
		t.Fatalf("%q %v", names, err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "commands", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(names[0] + Stdout); got != "key [secret]\nBearer [redacted]\n" {
		t.Errorf("stdout: %q", got)
	}
	if got := read(names[0] + Stderr); got != "oh\n" {
		t.Errorf("stderr: %q", got)
	}
	line := read(names[0] + Line)
	if !strings.HasPrefix(line, "/bin/sh -c 'printf '\\''key s3cret") || !strings.HasSuffix(line, " --api-key '[redacted]' 'a b'\n") {
		t.Errorf("line: %s", line)
	}
	var end End
	if err := json.Unmarshal([]byte(read(names[0]+Exit)), &end); err != nil {
		t.Fatal(err)
	}
	if end.Code != 3 || end.Node != "cells[c=4]" || end.Error != "" || end.Seconds <= 0 || end.Args[3] != "--api-key" {
		t.Errorf("%+v", end)
	}
	if _, err := os.Stat(filepath.Join(dir, "commands", names[1]+Exit)); !os.IsNotExist(err) {
		t.Errorf("a command that did not end has an exit file: %v", err)
	}
}

func TestRecorderThatCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	c := NewRecorder(filepath.Join(file, "no folder"), time.Now, 1)
	c.Begin("x", []string{"y"}, func(text string) string { return text }).End(0, nil)
	if err := c.Settle(time.Millisecond); err == nil {
		t.Error("that nothing could be kept is not said")
	}
}

func TestNext(t *testing.T) {
	dir := t.TempDir()
	if n, err := Next(filepath.Join(dir, "none")); n != 0 || err != nil {
		t.Error(n, err)
	}
	for _, name := range []string{"0007-a.command", "0003-b.command", "x.command", "0099-c.stdout"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := Next(dir); n != 8 || err != nil {
		t.Error(n, err)
	}
}

func TestQuote(t *testing.T) {
	words := []string{"a", "", "b c", "it's", `"$x"`, "x=1", "*"}
	out, err := exec.Command("/bin/sh", "-c", "printf '<%s>' "+Quote(words)).Output()
	if err != nil || string(out) != "<"+strings.Join(words, "><")+">" {
		t.Errorf("%s %v", out, err)
	}
}
