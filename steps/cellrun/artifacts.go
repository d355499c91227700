package cellrun

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// keepArtifacts writes what the tools of the cell left, a folder a tool.
func (c *cell) keepArtifacts() error {
	if !c.step.KeepArtifacts || len(c.folders) == 0 {
		return nil
	}
	return c.env.Write(artifactsFile, func(w io.Writer) error {
		packed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		t := tar.NewWriter(packed)
		for _, dir := range c.folders {
			if err := c.pack(t, dir); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		return packed.Close()
	})
}

// digests names the files of a folder, sorted.
func digests(dir string) ([]perf.Artifact, error) {
	var list []perf.Artifact
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum, n, err := digest.OfReader(f)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		list = append(list, perf.Artifact{Name: filepath.ToSlash(name), Bytes: n, SHA256: sum})
		return err
	})
	return list, err
}

// pack adds a folder. A file that holds the key of the endpoint is left out:
// no tool should have written it.
func (c *cell) pack(t *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(dir), path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		secret, err := holds(f, c.access.APIKey)
		if err != nil {
			return err
		}
		if secret {
			c.env.Doubt("artifact_left_out: %s holds the API key of the endpoint", name)
			return nil
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: size, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := io.Copy(t, f); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
		return nil
	})
}

// holds reports whether a secret is in what r gives.
func holds(r io.Reader, secret string) (bool, error) {
	if secret == "" {
		return false, nil
	}
	block := make([]byte, 1<<20)
	kept := 0 // of the block before, which the secret may have begun in
	for {
		n, err := io.ReadFull(r, block[kept:])
		if bytes.Contains(block[:kept+n], []byte(secret)) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(block, block[kept+n-len(secret)+1:kept+n])
	}
}
