package roofline

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func manifest() Manifest {
	return Manifest{
		Campaign: "a: b", CreatedAt: "2026-11-23T10:00:00Z", Tool: Tool{"pipeline", "1.10"}, Hardware: "B200",
		Model: Model{Name: "m", Shape: "llama-3.1-8b"}, TensorParallel: 8, CacheMode: Cold, Trials: 2,
		Sweeps:  Sweeps{Decode: &DecodeSweep{C: []int{1, 64}, ISL: 1024, OSL: 512}, Prefill: &PrefillSweep{ISL: []int{4096}, C: 1}},
		Setting: map[string]string{"driver": "580.105.08", "max_num_seqs": "1024"}, Notes: []string{"made: by hand"},
	}
}

// write makes a bundle: of the six cells asked for, one failed and one is not
// there.
func write(t *testing.T, change func(*Writer)) string {
	t.Helper()
	w := NewWriter(t.TempDir())
	m := manifest()
	for _, c := range m.Asked() {
		files := map[string][]byte{BenchFile: []byte("{}"), RequestsFile: []byte("{}\n")}
		switch {
		case c.Kind == Decode && c.C == 64 && c.Trial == 2:
			c.ExitCode, c.Error = 1, "(EngineCore pid=7) CUDA out of memory"
			delete(files, BenchFile)
		case c.Kind == Prefill && c.Trial == 2:
			continue
		}
		c.NumPrompts, c.StartNS, c.EndNS, c.GPUUUIDs = 128, 1_795_342_500_000_000_000, 1_795_342_560_000_000_000, []string{"GPU-1"}
		if err := w.PutCell(c, files); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Put("server/args.json", []byte("[]")); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(w)
	}
	if err := w.Finish(m); err != nil {
		t.Fatal(err)
	}
	return w.Dir()
}

func TestBundle(t *testing.T) {
	b, err := OpenPath(write(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range b.Cells {
		got = append(got, c.ID+" "+c.Reason)
	}
	want := []string{
		"d-tp8-c001-isl1024-osl512-t1 ", "d-tp8-c001-isl1024-osl512-t2 ",
		"d-tp8-c064-isl1024-osl512-t1 ", "d-tp8-c064-isl1024-osl512-t2 (EngineCore pid=7) CUDA out of memory",
		"p-tp8-c001-isl4096-osl1-t1 ", "p-tp8-c001-isl4096-osl1-t2 the sweep asks for this cell, and the bundle does not have it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("cells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	m := b.Manifest
	if m.Campaign != "a: b" || m.Tool.Version != "1.10" || m.Setting["driver"] != "580.105.08" || m.Notes[0] != "made: by hand" || m.Sweeps.Decode.OSL != 512 {
		t.Errorf("manifest %+v", m)
	}
	if c := b.Cells[0].Cell; c.GPUUUIDs[0] != "GPU-1" || c.Started().IsZero() || !b.Cells[0].Has(RequestsFile) || b.Cells[5].Has(BenchFile) {
		t.Errorf("cell %+v", c)
	}
	if text, ok, err := b.ReadOther("server/args.json"); !ok || err != nil || string(text) != "[]" {
		t.Errorf("server/args.json: %q %t %v", text, ok, err)
	}
}

// The same bundle is the same tar, and what is unpacked is the same bundle.
var b0 = time.Unix(1, 0)

func TestPack(t *testing.T) {
	dir := write(t, nil)
	var first, second bytes.Buffer
	if err := Pack(&first, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, ManifestFile), b0, b0); err != nil {
		t.Fatal(err)
	}
	if err := Pack(&second, dir); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("a time is in the tar")
	}
	plain, err := OpenPath(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "b.tar.zst")
	if err := os.WriteFile(packed, first.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := OpenPath(packed, t.TempDir())
	if err != nil || b.Digest != plain.Digest || len(b.Cells) != len(plain.Cells) {
		t.Errorf("unpacked %+v, error %v", b, err)
	}
}

// A plain tar of the folder itself, as `tar c roofline-out` makes it.
func TestTarOfFolder(t *testing.T) {
	b, err := OpenPacked(bytes.NewReader(tarOf(t, map[string]string{"./roofline-out/manifest.yaml": string(minimal())}, tar.TypeReg)), t.TempDir())
	if err != nil || b.Manifest.Hardware != "B200" {
		t.Errorf("error %v", err)
	}
}

func minimal() []byte {
	return []byte("schema: roofline-bundle/v1\nhardware: B200\ntensor_parallel: 8\ncache_mode: cold\nsweeps: {prefill: {isl: [128]}}\ncells: []\n")
}

func tarOf(t *testing.T, files map[string]string, kind byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: kind, Name: name, Size: int64(len(files[name])), Mode: 0o644}
		if kind == tar.TypeSymlink {
			h.Size, h.Linkname = 0, files[name]
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if kind == tar.TypeReg {
			if _, err := w.Write([]byte(files[name])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	for want, text := range map[string][]byte{
		"leads out of the bundle":   tarOf(t, map[string]string{"../x": "y"}, tar.TypeReg),
		"link or a special file":    tarOf(t, map[string]string{"x": "/etc/passwd"}, tar.TypeSymlink),
		"is no tar or tar.zst":      {},
		"read tar":                  []byte(strings.Repeat("x", 2000)),
		"ROOF_FILE: the bundle has": tarOf(t, map[string]string{"a": "b"}, tar.TypeReg),
	} {
		dir := t.TempDir()
		if _, err := OpenPacked(bytes.NewReader(text), dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "..", "x")); err == nil {
			t.Error("a file was written outside of the folder")
		}
	}
}

func TestTampered(t *testing.T) {
	cell := "cells/d-tp8-c064-isl1024-osl512-t1/"
	for want, change := range map[string]func(dir string) error{
		"ROOF_DIGEST: " + cell + BenchFile + " is 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a, and the manifest says 54136fa355b3678a": nil,
		"ROOF_FILE: the manifest lists " + cell + RequestsFile: func(dir string) error { return os.Remove(dir + "/" + cell + RequestsFile) },
		"ROOF_FILE: " + cell + "new is not in the manifest":    func(dir string) error { return os.WriteFile(dir+"/"+cell+"new", nil, 0o644) },
		"ROOF_DIGEST: server/args.json":                        func(dir string) error { return os.WriteFile(dir+"/server/args.json", nil, 0o644) },
		"ROOF_FILE: the bundle has no manifest.yaml":           func(dir string) error { return os.Remove(dir + "/" + ManifestFile) },
	} {
		dir := write(t, nil)
		if change == nil {
			text, err := os.ReadFile(dir + "/" + ManifestFile)
			if err != nil {
				t.Fatal(err)
			}
			// {} is 4413…; another digest in its place
			text = bytes.ReplaceAll(text, []byte("44136fa355b3678a"), []byte("54136fa355b3678a"))
			change = func(dir string) error { return os.WriteFile(dir+"/"+ManifestFile, text, 0o644) }
			want = strings.Replace(want, cell, "cells/d-tp8-c001-isl1024-osl512-t1/", 1)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPath(dir, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %q in it", err, want)
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"schema: roofline-bundle/v1", "schema: x"}:                        `the schema is "x"`,
		{"hardware: B200", "hardware: ''"}:                                 "hardware is empty",
		{"tensor_parallel: 8", "tensor_parallel: 0"}:                       "tensor_parallel is below 1",
		{"cache_mode: cold", "cache_mode: hot"}:                            `cache_mode is "hot"`,
		{"cells: []", "cells: []\ntrails: 3"}:                              "manifest.yaml:7:1",
		{"sweeps: {prefill: {isl: [128]}}", "sweeps: {}"}:                  "neither decode nor prefill",
		{"{isl: [128]}", "{isl: []}"}:                                      "sweeps.prefill",
		{"cells: []", "cells: [{id: ../x, sha256: {cell.yaml: aa}}]"}:      `id is "../x"`,
		{"cells: []", "cells: [{id: a, sha256: {bench.json: aa}}]"}:        "a has no cell.yaml",
		{"cells: []", "cells: [{id: a, sha256: {cell.yaml: aa}}]"}:         "a: cell.yaml",
		{"cells: []", "cells: [{id: a, sha256: {core: aa}}]"}:              `a has a file "core"`,
		{"cells: []", "cells: []\nfiles: {../x: aa}"}:                      "no path inside of the bundle",
		{"cells: []", "cells: []\nmodel: {quant_map: server/q.json}"}:      "which files does not list",
		{"cells: []", "cells: []\ncreated_at: yesterday"}:                  "not a time",
		{"{prefill: {isl: [128]}}", "{decode: {c: [1], isl: 8, osl: 1}}"}:  "sweeps.decode",
		{"{prefill: {isl: [128]}}", "{decode: {c: [0], isl: 8, osl: 11}}"}: "sweeps.decode",
	} {
		text := strings.Replace(string(minimal()), change[0], change[1], 1)
		if _, err := ParseManifest(ManifestFile, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", change[1], err, want)
		}
	}
	if _, err := ParseManifest(ManifestFile, minimal()); err != nil {
		t.Error(err)
	}
}

func TestCellRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"kind: x\nc: 1\nisl: 1\nosl: 1\n":                                  `kind is "x"`,
		"kind: prefill\nc: 0\nisl: 1\nosl: 1\n":                            "c is 0",
		"kind: prefill\nc: 1\nisl: 1\nosl: 2\n":                            "one output token",
		"kind: decode\nc: 1\nisl: 1\nosl: 1\n":                             "two output tokens",
		"kind: decode\nc: 1\nisl: 1\nosl: 9\nt_start_ns: 5\n":              "before t_start_ns",
		"kind: decode\nc: 1\nisl: 1\nosl: 9\nexit: 1\n":                    "cell.yaml:5:1",
		"kind: decode\nc: 1\nisl: 1\nosl: 9\ntrial: -1\n":                  "below zero",
		"kind: decode\nc: 1.5\nisl: 1\nosl: 9\n":                           "cell.yaml:2:4",
		"kind: decode\nc: 99999999999999999999999\nisl: 1\nosl: 9\n":       "cell.yaml:2:4",
		"kind: decode\nc: 1\nisl: 1\nosl: 9\nt_end_ns: .nan\nexit_code: 0": "cell.yaml:5",
	} {
		if _, err := ParseCell(CellFile, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

// A bundle is of one deployment, and a cell is in it once.
func TestCellsOfOneDeployment(t *testing.T) {
	put := func(c Cell) string {
		w := NewWriter(t.TempDir())
		m := manifest()
		for _, x := range []Cell{{Kind: Decode, TP: 8, C: 1, ISL: 1024, OSL: 512, Trial: 1}, c} {
			if err := w.PutCell(x, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(m); err != nil {
			return err.Error()
		}
		if _, err := OpenPath(w.Dir(), ""); err != nil {
			return err.Error()
		}
		return ""
	}
	if got := put(Cell{Kind: Decode, TP: 4, C: 64, ISL: 1024, OSL: 512}); !strings.Contains(got, "ROOF_FLAG_MISMATCH: cell d-tp4-c064-isl1024-osl512-t1 has tp 4, and the manifest says 8") {
		t.Error(got)
	}
	if got := put(Cell{Kind: Decode, TP: 8, C: 64, ISL: 1024, OSL: 512, CacheMode: Warm}); !strings.Contains(got, "cache_mode warm") {
		t.Error(got)
	}
	if got := put(Cell{Kind: Decode, C: 1, ISL: 1024, OSL: 512}); !strings.Contains(got, "are the same cell (decode c=1 isl=1024 osl=512 trial=1)") {
		t.Error(got)
	}
	if got := put(Cell{Kind: Decode, TP: 8, C: 9, ISL: 1024, OSL: 512}); got != "" {
		t.Errorf("a cell beside the sweep: %s", got)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(minimal())
	w := NewWriter(f.TempDir())
	if err := w.PutCell(Cell{Kind: Decode, TP: 8, C: 1, ISL: 4, OSL: 4}, map[string][]byte{BenchFile: nil}); err != nil {
		f.Fatal(err)
	}
	if err := w.Finish(manifest()); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.Dir(), ManifestFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add((Cell{Kind: Prefill, C: 1, ISL: 2, OSL: 1}).yaml())
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ParseManifest(ManifestFile, text); err == nil {
			again, err := ParseManifest(ManifestFile, m.yaml())
			if err != nil {
				t.Fatalf("what was written is not read: %v\n%s", err, m.yaml())
			}
			if !bytes.Equal(again.yaml(), m.yaml()) {
				t.Errorf("what was read is written otherwise:\n%s\n%s", m.yaml(), again.yaml())
			}
		}
		if c, err := ParseCell(CellFile, text); err == nil {
			if _, err := ParseCell(CellFile, c.yaml()); err != nil {
				t.Fatalf("what was written is not read: %v\n%s", err, c.yaml())
			}
		}
	})
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := z.Write(bytes.Repeat([]byte{0}, 1024)); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("manifest.yaml"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if b, err := OpenPacked(bytes.NewReader(text), t.TempDir()); err == nil && b.Manifest.Schema != BundleSchema {
			t.Error("a bundle without its schema")
		}
	})
}
