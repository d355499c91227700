// Package sealed puts a checksum on a line of JSON, so that a reader can tell
// a line that was written whole from one that was torn or changed. A sealed
// line is itself JSON: the checksum is the last member of the object.
package sealed

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

const (
	opening = `,"sum":"`
	length  = len(opening) + 8 + len(`"}`)
)

func sum(body []byte) [8]byte {
	var out [8]byte
	v := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	hex.Encode(out[:], []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	return out
}

// Seal finishes the object that starts at dst[start:], which must hold at
// least one member and its closing brace: the brace gives way to the
// checksum, a brace and a newline.
func Seal(dst []byte, start int) []byte {
	s := sum(dst[start : len(dst)-1])
	dst = append(dst[:len(dst)-1], opening...)
	dst = append(dst, s[:]...)
	return append(dst, "\"}\n"...)
}

// Open returns the object of a sealed line (with or without its newline) as
// it was before it was sealed.
func Open(line []byte) ([]byte, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	cut := len(line) - length
	if cut < 1 || !bytes.HasPrefix(line[cut:], []byte(opening)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return nil, fmt.Errorf("a line of %d bytes has no checksum at its end", len(line))
	}
	s := sum(line[:cut])
	if !bytes.Equal(s[:], line[cut+len(opening):cut+len(opening)+8]) {
		return nil, fmt.Errorf("a line of %d bytes does not have the checksum it says", len(line))
	}
	return append(bytes.Clone(line[:cut]), '}'), nil
}
