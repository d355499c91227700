package steps

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Memory takes in what a step of the kind writes, for who runs a step outside
// of the engine. Its Create is one for an Env.
type Memory struct {
	Kind  *Kind
	Files map[string][]byte // by output, once it was closed; not nil

	mu sync.Mutex
}

// Create begins one of the kind's outputs.
func (m *Memory) Create(name string) (io.WriteCloser, error) {
	if !slices.ContainsFunc(m.Kind.Outputs, func(o Output) bool { return o.Name == name }) {
		return nil, fmt.Errorf("create %s: the kind %s has no such output", name, m.Kind.Name)
	}
	return &memoryFile{memory: m, name: name}, nil
}

type memoryFile struct {
	bytes.Buffer
	memory *Memory
	name   string
}

func (f *memoryFile) Close() error {
	f.memory.mu.Lock()
	defer f.memory.mu.Unlock()
	f.memory.Files[f.name] = bytes.Clone(f.Bytes())
	return nil
}
