package realparts

import (
	"path/filepath"
	"testing"
)

// GuideLLMRun returns a Python interpreter and the script with which it is
// guidellm's load generator: `python script run …`. Only benchmarks use it.
func GuideLLMRun(t testing.TB) (python, script string) {
	t.Helper()
	python = filepath.Join(Venv(t, "guidellm-run"), "bin", "python")
	script, err := toolsPython("guidellm_run.py")
	if err == nil {
		script, err = filepath.Abs(script)
	}
	if err != nil {
		t.Fatal(err)
	}
	return python, script
}
