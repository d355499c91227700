package evidence

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/digest"
)

// A Check is what a look at a finished bundle found. It is whole if nothing
// differs, nothing is missing and nothing is there that is not listed.
type Check struct {
	Files    int           `json:"files"` // that are as the manifest has them
	Differ   []string      `json:"differ"`
	Missing  []string      `json:"missing"`
	Extra    []string      `json:"extra"`
	Manifest digest.Digest `json:"manifest_sha256"`
}

// Whole reports whether the bundle is as it was finished.
func (c *Check) Whole() bool { return len(c.Differ)+len(c.Missing)+len(c.Extra) == 0 }

// ErrUnfinished says that a bundle has no manifest yet.
var ErrUnfinished = errors.New("the bundle is not finished")

// Verify holds the files of a bundle against its manifest.
func Verify(dir string) (*Check, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		b, err := Open(dir)
		if err != nil {
			return nil, err
		}
		if b.About.Home == "" {
			return nil, fmt.Errorf("%s: %w: it is made by hand", dir, ErrUnfinished)
		}
		return nil, fmt.Errorf("%s: %w: run %s is going on, or was killed", dir, ErrUnfinished, b.About.Run)
	}
	if err != nil {
		return nil, err
	}
	listed, err := readManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	names, err := filesOf(dir)
	if err != nil {
		return nil, err
	}
	c := &Check{Differ: []string{}, Missing: []string{}, Extra: []string{}, Manifest: digest.Of(text)}
	for _, name := range names {
		want, ok := listed[name]
		switch {
		case name == ManifestFile:
			continue
		case !ok:
			c.Extra = append(c.Extra, name)
			continue
		}
		delete(listed, name)
		if got, err := digestOf(filepath.Join(dir, filepath.FromSlash(name))); err != nil || got != want {
			c.Differ = append(c.Differ, name)
		} else {
			c.Files++
		}
	}
	for name := range listed {
		c.Missing = append(c.Missing, name)
	}
	slices.Sort(c.Missing)
	return c, nil
}

func readManifest(text []byte) (map[string]digest.Digest, error) {
	listed := map[string]digest.Digest{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		raw, err := hex.DecodeString(sum)
		var d digest.Digest
		if !ok || err != nil || len(raw) != len(d) || !filepath.IsLocal(filepath.FromSlash(name)) {
			return nil, fmt.Errorf("line %d is not DIGEST, two spaces and the name of a file in the bundle: %.80q", n, lines.Text())
		}
		copy(d[:], raw)
		if _, twice := listed[name]; twice {
			return nil, fmt.Errorf("line %d lists %s a second time", n, name)
		}
		listed[name] = d
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(listed) == 0 {
		return nil, errors.New("it lists no file")
	}
	return listed, nil
}
