package lake

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// rowGroupSize is fixed, so that the bytes of a file depend on its rows only.
const rowGroupSize = 122880

// WriteParquet writes rows to a new file at path and returns the digest of
// what they say (perf.RowsDigest), which stands in the file's metadata too, as
// rows_sha256. The file is canonical: the same rows, in any order, give the
// same bytes. It is synced to disk before WriteParquet returns; a file that it
// could not finish is removed.
func WriteParquet(ctx context.Context, path string, schema *perf.Schema, rows []perf.Row) (digest.Digest, error) {
	sum, err := perf.RowsDigest(schema, rows)
	if err != nil {
		return digest.Digest{}, err
	}
	if err := writeParquet(ctx, path, schema, rows, sum); err != nil {
		os.Remove(path)
		return digest.Digest{}, fmt.Errorf("write %s rows to %s: %w", schema.Name, path, err)
	}
	return sum, nil
}

func writeParquet(ctx context.Context, path string, schema *perf.Schema, rows []perf.Row, sum digest.Digest) error {
	text, err := writeLines(filepath.Dir(path), rows)
	if err != nil {
		return err
	}
	defer os.Remove(text)
	s, err := openSession(ctx, 1)
	if err != nil {
		return err
	}
	defer s.close()
	columns, types := make([]string, len(schema.Columns)), make([]string, len(schema.Columns))
	for i, c := range schema.Columns {
		columns[i] = ident(c.Name)
		types[i] = literal(c.Name) + ": " + literal(string(c.Type))
	}
	err = s.exec(ctx, fmt.Sprintf(
		`COPY (SELECT %s FROM read_json(%s, format='newline_delimited', hive_partitioning=false, columns={%s}, maximum_object_size=268435456))
		 TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE %d, KV_METADATA {schema: %s, rows_sha256: %s})`,
		strings.Join(columns, ", "), literal(text), strings.Join(types, ", "),
		literal(path), rowGroupSize, literal(schema.Name), literal(sum.String())))
	if err != nil {
		return err
	}
	return syncFile(path)
}

// writeLines writes rows in canonical order as JSON, a row a line, to a
// temporary file that the caller removes.
func writeLines(dir string, rows []perf.Row) (path string, err error) {
	f, err := os.CreateTemp(dir, ".rows-*.jsonl")
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	sorted := slices.Clone(rows)
	perf.SortRows(sorted)
	w := bufio.NewWriter(f)
	for _, r := range sorted {
		line, err := r.MarshalJSON()
		if err != nil {
			return "", err
		}
		w.Write(append(line, '\n'))
	}
	return f.Name(), w.Flush()
}

// literal quotes a string of SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ident quotes a name of SQL.
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// syncFile puts a file or a folder on disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// whole reports whether the file begins and ends as a Parquet file does. A
// file that was cut off or is being copied does not.
func whole(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < 12 {
		return false
	}
	head, tail := make([]byte, 4), make([]byte, 8)
	if _, err := f.ReadAt(head, 0); err != nil {
		return false
	}
	if _, err := f.ReadAt(tail, info.Size()-8); err != nil {
		return false
	}
	footer := int64(tail[0]) | int64(tail[1])<<8 | int64(tail[2])<<16 | int64(tail[3])<<24
	return string(head) == "PAR1" && string(tail[4:]) == "PAR1" && footer+12 <= info.Size()
}
