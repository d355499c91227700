package realparts

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// VLLMVersion is the version of VLLM.
const VLLMVersion = "0.33.0"

// VLLM returns the path of a program that has one verb of vllm's, `bench
// serve`: vLLM's own code, on a machine that has no torch.
func VLLM(t testing.TB) string {
	t.Helper()
	python := filepath.Join(Venv(t, "vllm"), "bin", "python")
	script, err := toolsPython("vllmbench.py")
	if err != nil {
		t.Fatal(err)
	}
	if script, err = filepath.Abs(script); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vllm")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\nexec '%s' '%s' \"$@\"\n", python, script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
