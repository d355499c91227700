package tool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"pipeline/tools/python"
)

// A Tool is a program that others wrote.
type Tool struct {
	Name    string // as a spec names it: aiperf
	Version string // the one this program is made for; "" is whichever is there
	program string // its file name
	list    string // of packages, for pip; "" if it cannot be installed from here
	advice  string // how it gets there, where list is ""
}

// AIPerf is NVIDIA's load generator.
func AIPerf() Tool {
	return Tool{Name: "aiperf", Version: "0.13.0", program: "aiperf", list: python.AIPerf}
}

// VLLM is the benchmark client of vLLM, `vllm bench serve`. It comes with the
// engine, and so with torch: gigabytes that a machine has or does not want.
func VLLM() Tool {
	return Tool{Name: "vllm-bench", program: "vllm",
		advice: "it comes with vLLM itself: pip install vllm, or say where its vllm is (vllm_bench.path of cell_run, driver_path of runner)"}
}

// All lists the tools.
func All() []Tool { return []Tool{AIPerf(), VLLM()} }

// Installable reports whether Install can bring the tool.
func (t Tool) Installable() bool { return t.list != "" }

// Where a tool was found.
const (
	Given  = "parameter"
	InHome = "home"
	OnPath = "PATH"
)

// A Found is a tool that is there.
type Found struct {
	Tool
	Path string
	From string // Given, InHome or OnPath
}

// A NotFound says that a tool is nowhere, and how it gets there.
type NotFound struct{ Tool Tool }

func (e *NotFound) Error() string {
	advice := e.Tool.advice
	if e.Tool.Installable() {
		advice = "install it: pipeline tools install " + e.Tool.Name
	}
	return fmt.Sprintf("%s is neither in the home nor on the PATH; %s", e.Tool.Name, advice)
}

// Find looks for the tool: at the path given, if one is, else in the home,
// else on the PATH.
func (t Tool) Find(given, home string) (Found, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return Found{}, fmt.Errorf("%s: %w", t.Name, err)
		}
		path, err = filepath.Abs(path)
		return Found{t, path, Given}, err
	}
	if t.installed(home) {
		path, err := filepath.Abs(t.programIn(home))
		return Found{t, path, InHome}, err
	}
	path, err := exec.LookPath(t.program)
	switch {
	case err == nil:
		path, err = filepath.Abs(path)
		return Found{t, path, OnPath}, err
	case errors.Is(err, exec.ErrNotFound):
		return Found{}, &NotFound{t}
	}
	return Found{}, fmt.Errorf("%s: %w", t.Name, err)
}

// dir is where in a home the tool is installed.
func (t Tool) dir(home string) string {
	return filepath.Join(home, "tools", t.Name+"-"+t.Version)
}

func (t Tool) programIn(home string) string { return filepath.Join(t.dir(home), "bin", t.program) }

// installed reports whether Install has finished here, with the list of today.
func (t Tool) installed(home string) bool {
	if !t.Installable() {
		return false
	}
	mark, err := os.ReadFile(filepath.Join(t.dir(home), readyFile))
	return err == nil && string(mark) == t.mark()
}

var versionRE = regexp.MustCompile(`\d+(\.\d+)+[\w.+-]*`)

// versionWait is long enough for vLLM, whose --version imports torch.
const versionWait = 2 * time.Minute

// Ask returns the version that the tool says it has.
func (f Found) Ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, f.Path, "--version").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s --version: %w", f.Path, err)
	}
	v := versionRE.FindString(string(out))
	if v == "" {
		return "", fmt.Errorf("%s --version tells no version: %q", f.Path, strings.TrimSpace(string(out)))
	}
	return v, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
