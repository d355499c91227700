// Package command takes down commands: four files each, in a folder.
//
//	NAME.command   the command line, as a shell would take it
//	NAME.stdout    what it printed
//	NAME.stderr
//	NAME.exit      its exit code, and when it began and ended
//
// One without the last did not end while anybody watched. No secret is in
// them: see package redact.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
)

// The endings of the four files.
const (
	Line   = ".command"
	Stdout = ".stdout"
	Stderr = ".stderr"
	Exit   = ".exit" // an End
)

// Endings are those of the four files.
var Endings = []string{Line, Stdout, Stderr, Exit}

// An End is how a command ended.
type End struct {
	Node    string    `json:"node,omitempty"` // that ran it
	Args    []string  `json:"args"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Seconds float64   `json:"seconds"`
	Code    int       `json:"exit_code"` // -1: it has none
	Error   string    `json:"error,omitempty"`
}

// name returns the name of the n-th command of a folder.
func name(n int, what string) string { return fmt.Sprintf("%04d-%s", n, FileName(what)) }

// FileName makes the name of a file of a text. Characters that a file name
// should not have give way to "_"; the name then ends in a digest, so that no
// two texts share a file.
func FileName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.,=[]", r) {
			return r
		}
		return '_'
	}, text)
	if name != text || len(name) > 150 || strings.HasPrefix(name, ".") {
		name = name[:min(len(name), 130)] + "-" + digest.Of([]byte(text)).Short()
	}
	return name
}

// Names returns the names of the commands in a folder, in the order in which
// they began.
func Names(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), Line); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Next returns the number for one more command in a folder.
func Next(dir string) (int, error) {
	names, err := Names(dir)
	next := 0
	for _, name := range names {
		number, _, _ := strings.Cut(name, "-")
		if n, err := strconv.Atoi(number); err == nil {
			next = max(next, n+1)
		}
	}
	return next, err
}

// Encode returns the text of an exit file.
func (e End) Encode() []byte {
	text, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		panic(err) // it holds texts, times and numbers
	}
	return append(text, '\n')
}

// Quote returns a command line that a POSIX shell splits into these words.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = w
		if w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,@%+", r))
		}) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
