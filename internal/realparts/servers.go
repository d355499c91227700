package realparts

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// GuideLLMModel is the name under which GuideLLMMock lists its model.
const GuideLLMModel = "guidellm-mock"

// GuideLLMMock starts `guidellm mock-server` and returns its URL. It answers
// after 5 ms and then with a token each millisecond; flags come after these
// settings and so may change them, for example "--ttft-ms", "50".
func GuideLLMMock(t testing.TB, flags ...string) (url string) {
	t.Helper()
	python := filepath.Join(Venv(t, "guidellm"), "bin", "python")
	return Start(t, Process{
		Name: "guidellm mock-server",
		Args: func(port int) []string {
			return append([]string{python, "-m", "guidellm", "mock-server",
				"--host", "127.0.0.1", "--port", strconv.Itoa(port), "--model", GuideLLMModel,
				"--ttft-ms", "5", "--itl-ms", "1"}, flags...)
		},
		Ready: "/health",
	})
}

// TinyLlama starts llama.cpp's server with a tiny model of random weights and
// returns its URL and the name of its model. It decodes 4 requests at a time,
// each of at most 8,192 tokens, and has no /metrics; flags of
// tools/python/llamaserver.py may change that: "--parallel", "8", "--metrics".
func TinyLlama(t testing.TB, flags ...string) (url, model string) {
	t.Helper()
	python := filepath.Join(Venv(t, "llama"), "bin", "python")
	file, err := tinyModel(t, python)
	if err != nil {
		t.Fatalf("make the tiny model: %v", err)
	}
	script, err := toolsPython("llamaserver.py")
	if err != nil {
		t.Fatal(err)
	}
	const name = "tiny-random-llama"
	url = Start(t, Process{
		Name: "llama.cpp server",
		Args: func(port int) []string {
			return append([]string{python, script,
				"--model", file, "--alias", name, "--port", strconv.Itoa(port)}, flags...)
		},
		Ready: "/health",
	})
	return url, name
}

// tinyModel returns the path of the model file, which it writes on first use.
// The script renames the file when it is whole, so there is nothing to lock.
func tinyModel(t testing.TB, python string) (string, error) {
	script, err := toolsPython("tinymodel.py")
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(script)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, fmt.Sprintf("tiny-%x.gguf", sha256.Sum256(source)))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, err = output(t.Context(), python, script, path)
	return path, err
}
