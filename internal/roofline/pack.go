package roofline

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Limits of what is unpacked, so that a small file cannot fill a disk.
const (
	maxFiles    = 100_000
	maxUnpacked = 16 << 30
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Pack writes the folder of a bundle as tar.zst, in canonical order and without
// times and owners, so that the same files are the same tar.
func Pack(w io.Writer, dir string) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("pack bundle: %w", err)
	}
	t := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // in lexical order
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return packFile(t, path, filepath.ToSlash(rel))
	})
	if err := errors.Join(err, t.Close(), z.Close()); err != nil {
		return fmt.Errorf("pack bundle: %w", err)
	}
	return nil
}

func packFile(t *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: st.Size(), Mode: 0o644, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// unpack writes the files of a tar or tar.zst below dir. Links and other
// special files are refused, and so is a name that leads out of dir.
func unpack(r io.Reader, dir string) error {
	in := bufio.NewReader(r)
	head, _ := in.Peek(len(zstdMagic))
	var plain io.Reader = in
	if string(head) == string(zstdMagic) {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return err
		}
		defer z.Close()
		plain = z
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	t := tar.NewReader(plain)
	left, files := int64(maxUnpacked), 0
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if files == 0 {
				return errors.New("the file is no tar or tar.zst, or an empty one")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		name := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return fmt.Errorf("%q is a link or a special file, which a bundle has none of", h.Name)
		}
		if files++; files > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("more than %d GB", maxUnpacked>>30)
		}
		if err := writeFile(root, name, t); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, r io.Reader) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the bundle", name)
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
