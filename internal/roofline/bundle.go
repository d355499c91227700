package roofline

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"pipeline/internal/digest"
)

// A Bundle is a folder whose files are all as its manifest says.
type Bundle struct {
	Manifest Manifest
	Digest   digest.Digest // of manifest.yaml, and so of every file
	Cells    []Found       // those of the sweeps in their order, then others by name

	root fs.FS
}

// A Found is a cell that was asked for, or that is there.
type Found struct {
	ID     string
	Cell   Cell
	Reason string // why there is no result, "" if there is one
	files  map[string]string
}

// OpenPath opens a bundle in a folder or in a file (tar, tar.zst). A file is
// unpacked into scratch.
func OpenPath(name, scratch string) (*Bundle, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	if st.IsDir() {
		return Open(os.DirFS(name))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	defer f.Close()
	return OpenPacked(f, scratch)
}

// OpenPacked unpacks a bundle into scratch and opens it.
func OpenPacked(r io.Reader, scratch string) (*Bundle, error) {
	if err := unpack(r, scratch); err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	return Open(os.DirFS(scratch))
}

// Open opens a bundle and checks the digest of every file of its manifest.
// ROOF_DIGEST: a file is not the one that was measured. ROOF_FILE: it is not
// there, or is there and the manifest does not know it.
func Open(root fs.FS) (*Bundle, error) {
	text, err := fs.ReadFile(root, ManifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		// A tar of a folder has it one level down.
		if sub, ok := onlyFolder(root); ok {
			root = sub
			text, err = fs.ReadFile(root, ManifestFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ROOF_FILE: the bundle has no %s: %w", ManifestFile, err)
	}
	m, err := ParseManifest(ManifestFile, text)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Manifest: *m, Digest: digest.Of(text), root: root}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if err := b.verify(name, m.Files[name]); err != nil {
			return nil, err
		}
	}
	for _, c := range m.Cells {
		if err := b.verifyCell(c); err != nil {
			return nil, err
		}
	}
	return b, b.find()
}

func onlyFolder(root fs.FS) (fs.FS, bool) {
	entries, err := fs.ReadDir(root, ".")
	if err != nil || len(entries) != 1 || !entries[0].IsDir() {
		return nil, false
	}
	sub, err := fs.Sub(root, entries[0].Name())
	return sub, err == nil
}

func (b *Bundle) verify(name, want string) error {
	f, err := b.root.Open(name)
	if err != nil {
		return fmt.Errorf("ROOF_FILE: the manifest lists %s: %w", name, err)
	}
	defer f.Close()
	got, _, err := digest.OfReader(f)
	if err != nil {
		return fmt.Errorf("ROOF_FILE: read %s: %w", name, err)
	}
	if got.String() != want {
		return fmt.Errorf("ROOF_DIGEST: %s is %s, and the manifest says %s: it is not what was measured", name, got, want)
	}
	return nil
}

func (b *Bundle) verifyCell(c CellRef) error {
	dir := path.Join("cells", c.ID)
	for _, name := range slices.Sorted(maps.Keys(c.SHA256)) {
		if err := b.verify(path.Join(dir, name), c.SHA256[name]); err != nil {
			return err
		}
	}
	entries, err := fs.ReadDir(b.root, dir)
	if err != nil {
		return fmt.Errorf("ROOF_FILE: %w", err)
	}
	for _, e := range entries {
		if _, ok := c.SHA256[e.Name()]; !ok {
			return fmt.Errorf("ROOF_FILE: %s is not in the manifest", path.Join(dir, e.Name()))
		}
	}
	return nil
}

// find reads the cells, and lists those that were asked for and are not there.
func (b *Bundle) find() error {
	byShape := map[string]Found{}
	for _, ref := range b.Manifest.Cells {
		text, err := fs.ReadFile(b.root, path.Join("cells", ref.ID, CellFile))
		if err != nil {
			return fmt.Errorf("ROOF_FILE: %w", err)
		}
		c, err := ParseCell(path.Join("cells", ref.ID, CellFile), text)
		if err != nil {
			return err
		}
		if err := b.Manifest.agree(ref.ID, *c); err != nil {
			return err
		}
		f := Found{ID: ref.ID, Cell: *c, Reason: c.failure(), files: ref.SHA256}
		if _, ok := ref.SHA256[BenchFile]; !ok {
			f.Reason = cmp.Or(f.Reason, "the cell has no "+BenchFile)
		}
		if twin, twice := byShape[c.shape()]; twice {
			return fmt.Errorf("cells %s and %s are the same cell (%s): number their trials", twin.ID, ref.ID, c.shape())
		}
		byShape[c.shape()] = f
	}
	for _, c := range b.Manifest.Asked() {
		f, ok := byShape[c.shape()]
		if !ok {
			f = Found{ID: CellID(c), Cell: c, Reason: "the sweep asks for this cell, and the bundle does not have it"}
		}
		delete(byShape, c.shape())
		b.Cells = append(b.Cells, f)
	}
	rest := slices.SortedFunc(maps.Values(byShape), func(a, b Found) int { return cmp.Compare(a.ID, b.ID) })
	b.Cells = append(b.Cells, rest...)
	return nil
}

// agree refuses a cell of another deployment: a bundle holds one.
func (m *Manifest) agree(id string, c Cell) error {
	differ := func(name string, cell, manifest any) error {
		return fmt.Errorf("ROOF_FLAG_MISMATCH: cell %s has %s %v, and the manifest says %v: a bundle is of one deployment", id, name, cell, manifest)
	}
	switch {
	case c.TP != 0 && c.TP != m.TensorParallel:
		return differ("tp", c.TP, m.TensorParallel)
	case c.DP != 0 && m.DataParallel != 0 && c.DP != m.DataParallel:
		return differ("dp", c.DP, m.DataParallel)
	case c.EP != 0 && m.ExpertParallel != 0 && c.EP != m.ExpertParallel:
		return differ("ep", c.EP, m.ExpertParallel)
	case c.PP != 0 && m.PipelineParallel != 0 && c.PP != m.PipelineParallel:
		return differ("pp", c.PP, m.PipelineParallel)
	case c.KVCacheDtype != "" && m.KVCacheDtype != "" && c.KVCacheDtype != m.KVCacheDtype:
		return differ("kv_cache_dtype", c.KVCacheDtype, m.KVCacheDtype)
	case c.CacheMode != "" && c.CacheMode != m.CacheMode:
		return differ("cache_mode", c.CacheMode, m.CacheMode)
	}
	return nil
}

// Has reports whether a cell has a file.
func (f Found) Has(name string) bool { _, ok := f.files[name]; return ok }

// Sum is the digest of a file of the cell, "" if it has none.
func (f Found) Sum(name string) string { return f.files[name] }

// ReadFile reads a file of a cell, which must have it.
func (b *Bundle) ReadFile(f Found, name string) ([]byte, error) {
	return fs.ReadFile(b.root, path.Join("cells", f.ID, name))
}

// ReadOther reads a file outside of cells that the manifest lists; false if it
// lists none of that name.
func (b *Bundle) ReadOther(name string) ([]byte, bool, error) {
	if _, ok := b.Manifest.Files[name]; !ok {
		return nil, false, nil
	}
	text, err := fs.ReadFile(b.root, name)
	return text, true, err
}
