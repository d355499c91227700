package aiperf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"

	"pipeline/internal/digest"
	"pipeline/internal/jsonscan"
)

// Inputs are the prompts of a run.
type Inputs struct {
	Digest   digest.Digest // of what was said in all turns, in their order; of neither model nor options
	Sessions int
	Prompts  int // turns of all sessions
	Distinct int // of the sessions
}

// readInputs reads inputs.json, {"data": [{"session_id": …, "payloads": [{"messages": …}]}]},
// one session at a time.
func readInputs(f *folder) (*Inputs, error) {
	file, err := os.Open(f.path(inputsFile))
	if err != nil {
		return nil, fmt.Errorf("read the inputs of AIPerf: %w", err)
	}
	defer file.Close()
	in, err := parseInputs(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", inputsFile, err)
	}
	return in, nil
}

// maxSession is the longest session that is read.
const maxSession = 256 << 20

func parseInputs(r io.Reader) (*Inputs, error) {
	in := &Inputs{}
	all, said := sha256.New(), sha256.New()
	distinct := map[digest.Digest]struct{}{}
	for session, err := range jsonscan.Elements(r, "data", maxSession) {
		if err == nil {
			said.Reset()
			err = in.session(session, said)
		}
		if err != nil {
			return nil, fmt.Errorf("field data[%d]: %w", in.Sessions, err)
		}
		one := digest.Digest(said.Sum(nil))
		in.Sessions++
		distinct[one] = struct{}{}
		all.Write(one[:])
	}
	in.Digest, in.Distinct = digest.Digest(all.Sum(nil)), len(distinct)
	return in, nil
}

// session hashes what one session says.
func (in *Inputs) session(text []byte, said hash.Hash) error {
	s := jsonscan.New(text)
	var key []byte
	for s.Object(); s.Member(&key); {
		if string(key) != "payloads" || !s.Is('[') {
			s.Skip()
			continue
		}
		for s.Array(); s.Element(); {
			in.Prompts++
			payload := jsonscan.New(s.Skip())
			if err := prompt(&payload, said); err != nil {
				return err
			}
		}
	}
	return s.End()
}

// prompt hashes what one payload says: its messages, or the prompt of another
// API.
func prompt(s *jsonscan.Scanner, said hash.Hash) error {
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "messages", "prompt", "input", "inputs":
			part := s.Skip()
			said.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
			said.Write(key)
			withoutSpace(part, said)
		default:
			s.Skip()
		}
	}
	return s.End()
}

// withoutSpace hashes a JSON text without the space between its parts, so that
// it does not matter how it was indented.
func withoutSpace(text []byte, said hash.Hash) {
	for len(text) > 0 {
		n := 0
		switch c := text[0]; c {
		case ' ', '\t', '\n', '\r':
			n = len(text) - len(bytes.TrimLeft(text, " \t\n\r"))
		case '"':
			s := jsonscan.New(text)
			s.String()
			n = s.Offset()
			said.Write(text[:n])
		default:
			n = bytes.IndexAny(text, " \t\n\r\"")
			if n < 0 {
				n = len(text)
			}
			said.Write(text[:n])
		}
		text = text[n:]
	}
	said.Write([]byte{0})
}
