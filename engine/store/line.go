package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/steps"
)

// A line of the index has the fields of a record parted by tabs (all but the
// host, which only the record file has), and a checksum at its end.

func checked(line string) string {
	return line + "\t" + fmt.Sprintf("%08x", crc(line)) + "\n"
}

func crc(line string) uint32 {
	return crc32.Checksum([]byte(line), crc32.MakeTable(crc32.Castagnoli))
}

func parseEntry(text string) (entry, bool) {
	cut := len(text) - 9
	if cut < 64+1 || text[cut] != '\t' {
		return entry{}, false
	}
	line := text[:cut]
	if sum, err := strconv.ParseUint(text[cut+1:], 16, 32); err != nil || uint32(sum) != crc(line) {
		return entry{}, false
	}
	k, err := digest.Parse(line[:64])
	if err != nil {
		return entry{}, false
	}
	id, _, _ := strings.Cut(line[65:], "\t")
	return entry{key: Key(k), id: id, line: line}, true
}

const lineFields = 15

func encodeLine(r *Record) string {
	var b strings.Builder
	field := func(s string) { b.WriteByte('\t'); b.WriteString(escape(s)) }
	b.WriteString(r.Key.String())
	for _, s := range []string{r.ID, r.Kind, r.Effect, r.Node, r.Campaign, r.Run, string(r.Status), r.Reason, r.Forced} {
		field(s)
	}
	for _, n := range []int64{int64(r.Attempt), r.Began.UnixNano(), int64(r.Took)} {
		field(strconv.FormatInt(n, 10))
	}
	field(encodeDoubts(r.Doubts))
	var arts strings.Builder
	for _, a := range r.Artifacts {
		arts.WriteString(a.Digest.String())
		arts.WriteString(map[bool]string{false: "-", true: "v"}[a.Volatile])
		arts.WriteString(strconv.FormatInt(a.Size, 10) + " " + strconv.Quote(a.Name) + " ")
	}
	field(arts.String())
	return b.String()
}

func encodeDoubts(doubts []string) string {
	if len(doubts) == 0 {
		return ""
	}
	b, err := json.Marshal(doubts)
	if err != nil {
		return "" // strings always have a JSON form
	}
	return string(b)
}

func decodeLine(line string) (*Record, error) {
	var f [lineFields]string
	for i := range f {
		part, rest, more := strings.Cut(line, "\t")
		if more != (i < lineFields-1) {
			return nil, fmt.Errorf("an index line with %d fields or so, want %d", i+1, lineFields)
		}
		f[i], line = unescape(part), rest
	}
	k, err := digest.Parse(f[0])
	if err != nil {
		return nil, err
	}
	r := &Record{Schema: RecordSchema, Key: Key(k), ID: f[1], Kind: f[2], Effect: f[3], Node: f[4], Campaign: f[5],
		Run: f[6], Status: Status(f[7]), Reason: f[8], Forced: f[9]}
	var n [3]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(f[10+i], 10, 64); err != nil {
			return nil, err
		}
	}
	r.Attempt, r.Began, r.Took = int(n[0]), time.Unix(0, n[1]).UTC(), time.Duration(n[2])
	if f[13] != "" {
		if err := json.Unmarshal([]byte(f[13]), &r.Doubts); err != nil {
			return nil, err
		}
	}
	r.Artifacts, err = decodeArtifacts(f[14])
	return r, err
}

func decodeArtifacts(s string) ([]steps.Artifact, error) {
	if s == "" {
		return nil, nil
	}
	out := make([]steps.Artifact, 0, 2)
	for s != "" {
		if len(s) < 66 {
			return nil, errors.New("an index line whose artifacts are cut short")
		}
		d, err := digest.Parse(s[:64])
		if err != nil {
			return nil, err
		}
		a := steps.Artifact{Digest: d, Volatile: s[64] == 'v'}
		size, rest, _ := strings.Cut(s[65:], " ")
		if a.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
			return nil, err
		}
		if a.Name, rest, err = cutQuoted(rest); err != nil {
			return nil, err
		}
		out = append(out, a)
		s = strings.TrimPrefix(rest, " ")
	}
	return out, nil
}

// cutQuoted takes a Go string literal from the front of s.
func cutQuoted(s string) (text, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		if end := strings.IndexAny(s[1:], `"\\`); end >= 0 && s[1+end] == '"' {
			return s[1 : 1+end], s[2+end:], nil
		}
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", err
	}
	text, err = strconv.Unquote(quoted)
	return text, s[len(quoted):], err
}

func escape(s string) string {
	if !strings.ContainsAny(s, "\t\n\\") {
		return s
	}
	return strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`).Replace(s)
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, "\\", `\t`, "\t", `\n`, "\n").Replace(s)
}
