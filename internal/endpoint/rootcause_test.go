package endpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipeline/internal/vllmsim"
)

func TestRootCause(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"empty", "", ""},
		{"a healthy server", "(APIServer pid=1) INFO 11-23 10:00:00 [x.py:1] Application startup complete.\n", ""},
		{"an answer with an error", "INFO:     127.0.0.1:4 - \"POST /v1/completions HTTP/1.1\" 500 Internal Server Error\n(EngineCore pid=2) WARNING 11-23 10:00:00 [x.py:1] an error that is none\n", ""},
		{"an argument", "usage: vllm serve [model_tag] [options]\nvllm: error: unrecognized arguments: --tensor-paralel-size 8\n",
			"vllm: error: unrecognized arguments: --tensor-paralel-size 8"},
		{"a traceback of no process", "Traceback (most recent call last):\n  File \"a.py\", line 1\n    x\nModuleNotFoundError: No module named 'vllm'\n",
			"ModuleNotFoundError: No module named 'vllm'"},
		{"only the pointer", "Traceback (most recent call last):\n  File \"a.py\", line 1\nRuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n",
			"RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"},
		{"a panic of Go", "INFO x\npanic: runtime error: index out of range [3] with length 3\n\ngoroutine 1 [running]:\n",
			"panic: runtime error: index out of range [3] with length 3"},
		{"torn", "(EngineCore pid=9) ERROR 11-23 10:01:10 [core.py:1] Traceback (most recent call last):\n(EngineCore pid=9) ERROR 11-23 10:01:10 [core.py:1] torch.OutOfMemoryError: CUDA out of mem",
			"(EngineCore pid=9) torch.OutOfMemoryError: CUDA out of mem"},
		{"no cause but an end", "(APIServer pid=1) ERROR 11-23 10:01:10 [launcher.py:1] Cannot assign requested address: error 99\n",
			"(APIServer pid=1) Cannot assign requested address: error 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := RootCause(strings.NewReader(c.log)); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestRootCauseOfLogs(t *testing.T) {
	for file, want := range map[string]string{
		"kv_cache.log": "(EngineCore_DP0 pid=71) ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
		"oom.log":      "(Worker_TP3 pid=13) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
	} {
		f, err := os.Open(filepath.Join("testdata", "logs", file))
		if err != nil {
			t.Fatal(err)
		}
		if got := RootCause(f); got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", file, got, want)
		}
		f.Close()
	}
}

// The simulated server dies with a log in vLLM's shape.
func TestRootCauseOfSimulation(t *testing.T) {
	var log bytes.Buffer
	conf := simConfig()
	conf.Log = &log
	sim, err := vllmsim.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.SetFaults(vllmsim.Faults{Crash: true}); err != nil {
		t.Fatal(err)
	}
	sim.Close()
	if got := RootCause(&log); !strings.Contains(got, "illegal memory access") || !strings.HasPrefix(got, "(EngineCore") {
		t.Errorf("got %q", got)
	}
}

func TestRootCauseOfLongLines(t *testing.T) {
	log := strings.Repeat("x", 3*maxLogLine) + " error\n" + strings.Repeat("y", 2*maxLogLine) + "\nMemoryError: enough\n"
	if got := RootCause(strings.NewReader(log)); got != "MemoryError: enough" {
		t.Errorf("got %q", got)
	}
}

func FuzzRootCause(f *testing.F) {
	for _, file := range []string{"kv_cache.log", "oom.log"} {
		b, err := os.ReadFile(filepath.Join("testdata", "logs", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("Traceback (most recent call last):\nE:\r\n\x1b[0mpanic: \xff"))
	f.Fuzz(func(t *testing.T, log []byte) {
		got := RootCause(bytes.NewReader(log))
		if len(got) > maxCause+len("…") || strings.ContainsAny(got, "\n") {
			t.Errorf("cause is not one short line: %q", got)
		}
	})
}
