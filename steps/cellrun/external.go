package cellrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/redact"
	"pipeline/internal/tool"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// An external is one call of a tool that others wrote.
type external struct {
	c        *cell
	meter    *meter
	watch    *watch
	tool     tool.Found
	version  string // as the tool tells it
	dir      string // what it writes goes here, and its output as outputFile
	args     []string
	env      []string
	hubToken string                    // of the Hugging Face Hub, for a tokenizer; "" is none
	line     func(string)              // is told what it says
	follow   func(ctx context.Context) // tells how far it is until ctx ends; nil is no way
}

// outputFile is what a tool printed.
const outputFile = "output.log"

// termGrace is what a tool has between SIGTERM and SIGKILL.
const termGrace = 5 * time.Second

// findTool finds a tool of the version that the key names.
func (c *cell) findTool(ctx context.Context, t tool.Tool, param string, p *Tool) (tool.Found, error) {
	path := p.Path
	if path != "" {
		path = c.env.Resolve(path)
	}
	found, err := t.Find(path, c.env.Campaign.Home)
	if err != nil {
		return found, fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	version, err := found.Ask(ctx)
	if err != nil {
		return found, err
	}
	if version != p.Version {
		advice := fmt.Sprintf("set %s.version: %q to measure with it", param, version)
		if t.Installable() && p.Version == t.Version {
			advice += ", or install the other: pipeline tools install " + t.Name
		}
		return found, fmt.Errorf("%s at %s is version %s, and %s.version, which the key names, is %s: %s: %w",
			t.Name, found.Path, version, param, p.Version, advice, steps.ErrPermanent)
	}
	return found, nil
}

// folder makes the folder of what a tool writes. It is short-lived: what is
// kept goes into artifactsFile.
func (c *cell) folder(name string) (string, error) {
	dir := filepath.Join(c.env.Dir, name)
	c.folders = append(c.folders, dir)
	return dir, os.MkdirAll(dir, 0o777)
}

// run runs the tool to its end, or until ctx ends, and takes the server's
// counters around it. An error means that it did not run.
func (x *external) run(ctx context.Context) (tool.End, error) {
	c := x.c
	log, err := os.Create(filepath.Join(x.dir, outputFile))
	if err != nil {
		return tool.End{}, err
	}
	defer log.Close()
	// AIPerf puts sockets there, whose paths must be short.
	temp, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		return tool.End{}, err
	}
	defer os.RemoveAll(temp)
	x.meter.trim = true
	x.meter.begin(ctx)
	x.watch.blind = time.Duration(c.step.RequestTimeout)
	x.watch.begin()
	x.watch.allow(time.Duration(c.step.StartTimeout))
	followed := make(chan struct{})
	following, stop := context.WithCancel(ctx)
	go func() {
		defer close(followed)
		if x.follow != nil {
			x.follow(following)
		}
	}()
	if x.hubToken != "" {
		x.env = append(x.env, "HF_TOKEN="+x.hubToken)
	}
	record := c.env.Command(append([]string{x.tool.Path}, x.args...)...)
	r := tool.Run{
		Path: x.tool.Path, Args: x.args, Dir: x.dir, Env: append(append([]string{"TMPDIR=" + temp}, c.trust()...), x.env...), Log: io.MultiWriter(log, record.Stdout),
		Secrets: x.secrets(), Limit: time.Duration(c.step.ToolTimeout), Grace: termGrace,
		Line: func(s string) {
			c.env.Log.Debug(x.tool.Name, "line", s)
			x.watch.said()
			if x.line != nil {
				x.line(s)
			}
		},
	}
	end, err := r.Do(ctx)
	if err != nil {
		end.Code = -1
	}
	record.End(end.Code, cmp.Or(err, end.Cut))
	stop()
	<-followed
	x.meter.end(ctx)
	return end, err
}

// token is the token of the hub that the spec names; unset is none.
func (c *cell) token(p *Tool) string {
	if p.TokenEnv == "" {
		return ""
	}
	token, err := c.env.Secret(string(p.TokenEnv))
	if err != nil {
		c.doubt("no_token: %s, which token_env names, is not set; the tool gets none", p.TokenEnv)
	}
	return token
}

// trust are the variables by which Python's libraries find certificates.
func (c *cell) trust() []string {
	if c.access.CAFile == "" {
		return nil
	}
	return []string{"SSL_CERT_FILE=" + c.access.CAFile, "REQUESTS_CA_BUNDLE=" + c.access.CAFile}
}

// secrets are the values that the tool is handed and nobody is shown.
func (x *external) secrets() []string { return []string{x.c.access.APIKey, x.hubToken} }

// name is how the tool stands in a measurement.
func (x *external) name() perf.Driver {
	return perf.Driver{Name: x.tool.Name, Version: x.version, Command: redact.Args(append([]string{x.tool.Path}, x.args...), x.secrets()...)}
}

// reasons say how a tool that did not end well ended. complaint is what it says
// of that itself.
func (x *external) reasons(end tool.End, complaint string) []string {
	switch {
	case errors.Is(end.Cut, tool.ErrLimit):
		return []string{fmt.Sprintf("tool_timeout: %s was ended after %s; raise tool_timeout if it may take longer", x.tool.Name, x.c.step.ToolTimeout)}
	case end.Cut != nil:
		return nil // the cause of the context is a reason of its own
	case end.Code == -1:
		return []string{fmt.Sprintf("tool_failed: %s was killed by a signal: %s", x.tool.Name, complaint)}
	case end.Code != 0:
		return []string{fmt.Sprintf("tool_failed: %s ended with exit code %d: %s", x.tool.Name, end.Code, complaint)}
	}
	return nil
}

// tokenizer is what a tool is told to count tokens with: the folder or the name
// that the spec gives, on a simulation the simulation's own, else the
// repository of the model; "" leaves it to the tool.
func (c *cell) tokenizer(p *Tool) (string, error) {
	switch {
	case p.TokenizerDir != "":
		return c.env.Resolve(string(p.TokenizerDir)), nil
	case p.Tokenizer != "":
		return p.Tokenizer, nil
	case c.identity.Value(endpoint.Simulated) == "true":
		dir := filepath.Join(c.env.Dir, "tokenizer")
		return dir, vllmsim.WriteTokenizer(dir)
	}
	if name := c.setting(c.step.workload(), perf.Driver{})["model_hf_path"]; name != perf.Unknown {
		return name, nil
	}
	return "", nil
}
