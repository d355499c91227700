package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pipeline/internal/command"
	"pipeline/internal/digest"
	"pipeline/internal/redact"
)

// The files of a bundle.
const (
	SourceFile     = "SOURCE.md"
	SummaryFile    = "summary.md"
	HandoffFile    = "HANDOFF.md"
	SpecFile       = "spec.yaml"
	CommandsDir    = "commands"
	ManifestFile   = "MANIFEST.sha256"
	UnfinishedFile = "UNFINISHED"
)

// About is what is known of a bundle when it is made.
type About struct {
	Family   string            `json:"family"`
	Intent   string            `json:"intent"`
	Campaign string            `json:"campaign,omitempty"` // of the lake: campaign=<this>
	Run      string            `json:"run"`                // also the name of the bundle's folder
	Home     string            `json:"home,omitempty"`     // of the run, absolute; "" if the bundle is of none
	Spec     string            `json:"spec,omitempty"`     // its path as the user gave it
	SpecSum  string            `json:"spec_sha256,omitempty"`
	Program  string            `json:"program"` // name and version
	Args     []string          `json:"args"`    // the command line, without secrets
	Began    time.Time         `json:"began"`
	Host     string            `json:"host,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// A Bundle is a folder of evidence that is not finished.
type Bundle struct {
	Dir   string
	About About

	files   map[string]digest.Digest // as the program wrote them, by name: what differs is a person's
	secrets []string
}

// state is what UNFINISHED holds, so that another process can finish.
type state struct {
	About About                    `json:"about"`
	Files map[string]digest.Digest `json:"files"`
}

// Create makes the folder dir/<family>/<run>. spec is the text of the spec, nil
// if there is none.
func Create(dir string, about About, spec []byte) (*Bundle, error) {
	if err := checkName("family", about.Family); err != nil {
		return nil, err
	}
	if err := checkName("run", about.Run); err != nil {
		return nil, err
	}
	b := &Bundle{Dir: filepath.Join(dir, about.Family, about.Run), About: about, files: map[string]digest.Digest{}}
	if err := os.MkdirAll(filepath.Dir(b.Dir), 0o777); err != nil {
		return nil, err
	}
	if err := os.Mkdir(b.Dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the evidence bundle: %w", err)
	}
	if err := os.Mkdir(filepath.Join(b.Dir, CommandsDir), 0o777); err != nil {
		return nil, err
	}
	if err := b.save(); err != nil {
		return nil, err
	}
	texts := map[string]string{SourceFile: b.source(nil), SummaryFile: b.summary(nil), HandoffFile: b.handoff(nil)}
	if spec != nil {
		texts[SpecFile] = string(spec)
	}
	return b, b.writeAll(texts)
}

// checkName refuses what is no name of a folder.
func checkName(what, name string) error {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "\\\n") {
		return fmt.Errorf("the %s %q is no name of a folder", what, name)
	}
	return nil
}

// Open opens a bundle that is not finished.
func Open(dir string) (*Bundle, error) {
	text, err := os.ReadFile(filepath.Join(dir, UnfinishedFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, ManifestFile)); err == nil {
			return nil, fmt.Errorf("%s is finished: what is in it stays as it is", dir)
		}
		return nil, fmt.Errorf("%s is no evidence bundle: it has neither %s nor %s", dir, UnfinishedFile, ManifestFile)
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, UnfinishedFile), err)
	}
	if s.Files == nil {
		s.Files = map[string]digest.Digest{}
	}
	return &Bundle{Dir: dir, About: s.About, files: s.Files}, nil
}

// Unfinished returns the bundles of a family below dir that are not finished.
func Unfinished(dir, family string) []*Bundle {
	paths, _ := filepath.Glob(filepath.Join(dir, family, "*", UnfinishedFile)) // the pattern is well-formed
	var out []*Bundle
	for _, p := range paths {
		if b, err := Open(filepath.Dir(p)); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// Hide takes values that must not be in the bundle.
func (b *Bundle) Hide(values ...string) { b.secrets = append(b.secrets, values...) }

func (b *Bundle) clean(text string) string { return redact.Text(text, b.secrets...) }

// writeAll writes files of the bundle, but for those that a person changed.
func (b *Bundle) writeAll(texts map[string]string) error {
	for name, text := range texts {
		path := filepath.Join(b.Dir, name)
		was, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if ours, known := b.files[name]; err == nil && (!known || digest.Of(was) != ours) {
			continue
		}
		clean := []byte(b.clean(text))
		b.files[name] = digest.Of(clean)
		if err := b.save(); err != nil { // first, so that a file that is there is known
			return err
		}
		if err := writeFile(path, clean); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bundle) save() error {
	text, err := json.MarshalIndent(state{b.About, b.files}, "", " ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(b.Dir, UnfinishedFile), append(text, '\n'))
}

// writeFile writes a file so that it is there whole or not at all.
func writeFile(path string, text []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}

// copyCommands takes in what the steps of a run ran.
func (b *Bundle) copyCommands(from string) error {
	names, err := command.Names(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		for _, ending := range command.Endings {
			text, err := os.ReadFile(filepath.Join(from, name+ending))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := writeFile(filepath.Join(b.Dir, CommandsDir, name+ending), []byte(b.clean(string(text)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// completeCommands gives each command its four files: one that did not end has
// an exit file that says so.
func (b *Bundle) completeCommands() error {
	dir := filepath.Join(b.Dir, CommandsDir)
	names, err := command.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		for _, ending := range command.Endings {
			path, text := filepath.Join(dir, name+ending), ""
			if _, err := os.Stat(path); err == nil {
				continue
			}
			if ending == command.Exit {
				text = `{"exit_code": null, "error": "it did not end while anybody watched"}` + "\n"
			}
			if err := writeFile(path, []byte(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Begin takes down a command that no step runs, with the next number there is.
func (b *Bundle) Begin(now func() time.Time, argv []string) (*command.Recorder, *command.Recorded, error) {
	dir := filepath.Join(b.Dir, CommandsDir)
	next, err := command.Next(dir)
	if err != nil {
		return nil, nil, err
	}
	recorder := command.NewRecorder(dir, now, next)
	hide := func(text string) string { return redact.Values(text, b.secrets...) }
	return recorder, recorder.Begin("", argv, hide), nil
}
