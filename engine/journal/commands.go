package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CommandsDir is the folder of a run in which the commands are that its steps
// ran, four files each: NAME.command, NAME.stdout, NAME.stderr, NAME.exit. A
// command without the last did not end, as far as the run knows.
const CommandsDir = "commands"

// The four files of a command.
const (
	CommandLine   = ".command" // the command line, as a shell would take it
	CommandStdout = ".stdout"
	CommandStderr = ".stderr"
	CommandExit   = ".exit" // a CommandEnd
)

// A CommandEnd is how a command ended.
type CommandEnd struct {
	Node    string    `json:"node,omitempty"` // that ran it
	Args    []string  `json:"args"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Seconds float64   `json:"seconds"`
	Code    int       `json:"exit_code"` // -1: it has none
	Error   string    `json:"error,omitempty"`
}

// CommandName returns the name of the n-th command of a run, that a node ran.
func CommandName(n int, node string) string {
	name := strings.TrimSuffix(filepath.Base(LogPath(node)), ".log")
	return fmt.Sprintf("%04d-%s", n, name)
}

// Commands returns the names of the commands of a run, in the order in which
// they began.
func Commands(runDir string) ([]string, error) {
	files, err := os.ReadDir(filepath.Join(runDir, CommandsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), CommandLine); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Encode returns the text of an exit file.
func (e CommandEnd) Encode() []byte {
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
