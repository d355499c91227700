package aiperf

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"pipeline/internal/digest"
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
	in, err := parseInputs(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", inputsFile, err)
	}
	return in, nil
}

func parseInputs(r io.Reader) (*Inputs, error) {
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	all := sha256.New()
	in := &Inputs{}
	distinct := map[digest.Digest]struct{}{}
	found := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, cutOff(d, err)
		}
		if name != "data" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, cutOff(d, err)
			}
			continue
		}
		found = true
		if err := expect(d, json.Delim('[')); err != nil {
			return nil, err
		}
		for d.More() {
			one, err := session(d, in)
			if err != nil {
				return nil, fmt.Errorf("field data[%d]: %w", in.Sessions, err)
			}
			in.Sessions++
			distinct[one] = struct{}{}
			all.Write(one[:])
		}
		if err := expect(d, json.Delim(']')); err != nil {
			return nil, err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("field data: it is missing")
	}
	in.Digest, in.Distinct = digest.Digest(all.Sum(nil)), len(distinct)
	return in, nil
}

// session returns the digest of what one session says.
func session(d *json.Decoder, in *Inputs) (digest.Digest, error) {
	var s struct {
		Payloads []map[string]json.RawMessage `json:"payloads"`
	}
	if err := d.Decode(&s); err != nil {
		return digest.Digest{}, cutOff(d, err)
	}
	said := sha256.New()
	for _, payload := range s.Payloads {
		in.Prompts++
		part := payload["messages"]
		for _, name := range []string{"prompt", "input", "inputs"} {
			if part == nil {
				part = payload[name]
			}
		}
		var value any
		if err := json.Unmarshal(part, &value); part != nil && err != nil {
			return digest.Digest{}, err
		}
		text, err := digest.Canonical(value)
		if err != nil {
			return digest.Digest{}, err
		}
		said.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		said.Write(text)
	}
	return digest.Digest(said.Sum(nil)), nil
}

func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	switch {
	case err != nil:
		return cutOff(d, err)
	case token != want:
		return fmt.Errorf("byte %d: %v is wanted, not %v", d.InputOffset(), want, token)
	}
	return nil
}

func cutOff(d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("cut off at byte %d", d.InputOffset())
	}
	return fmt.Errorf("byte %d: %w", d.InputOffset(), err)
}
