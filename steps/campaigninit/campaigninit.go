// Package campaigninit is the kind init: it looks at an endpoint and says what
// it is.
//
// identity.json is what the measurements below depend on: it holds no
// address, no time and no process, so that the same server elsewhere gives the
// same bytes, and the cells measured before still answer. observed.json is the
// evidence beside it, in no key.
package campaigninit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/endpoint"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const (
	identityFile = "identity.json"
	observedFile = "observed.json"
)

// Kind is the kind init.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "init",
		Summary: "look at an endpoint: what it is, and whether that is what the spec declares",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Observe,
		Ports: []steps.Port{
			{Name: "server", Doc: "The endpoint: a step of kind serve.", Required: true, Hold: true},
			{Name: "runner", Doc: "Where it is looked at from: a step of kind runner.", Hold: true},
		},
		Outputs: []steps.Output{
			{Name: identityFile, Doc: "What measurements of this endpoint depend on (identity/v1)."},
			{Name: observedFile, Doc: "Address, time and answers of the endpoint, as evidence.", Volatile: true},
		},
		New: func() steps.Step {
			return &Step{Reuse: "config", ReadyTimeout: steps.Duration(10 * time.Second)}
		},
	}
}

const doc = `What the endpoint tells of itself (/v1/models, /version, /metrics, and /server_info of a
vLLM in development mode) is checked against what the spec declares. A
difference is an error, unless allow_mismatch; what nobody tells is unknown, and
a doubt of what is measured.

    - id: setup
      uses: init
      in: {server: server}
      with: {model: {name: zai-org/GLM-5.1-FP8}, hardware: b200_sm100, tensor_parallel: 8,
             declare: {image_digest: "sha256:…", engine_version: 0.25.1}}
`

// Step looks at an endpoint.
type Step struct {
	Model          endpoint.ModelSpec `json:"model" key:"yes" doc:"The model that is expected."`
	Hardware       string             `json:"hardware" key:"yes" doc:"GPU: a key of configs/sol-ceilings.yaml, or of ceilings."`
	Ceilings       steps.File         `json:"ceilings" key:"yes" doc:"File of ceilings of your own, in the form of configs/sol-ceilings.yaml, if hardware is a key of it."`
	TensorParallel int                `json:"tensor_parallel" key:"yes" min:"0" doc:"Tensor parallelism; 0 is not declared."`
	Args           endpoint.Args      `json:"args" key:"yes" doc:"Arguments of the server."`
	Declare        map[string]string  `json:"declare" key:"yes" doc:"Further facts by the name of their column: image_digest, engine_version, gpu_count."`
	AllowMismatch  bool               `json:"allow_mismatch" key:"yes" doc:"What is declared may differ from what the endpoint tells; the difference is a doubt."`
	Reuse          string             `json:"reuse" key:"yes" enum:"config,node,instance" doc:"What a reused cell must have in common with this endpoint: its configuration; its node too; its running process too."`
	Bundle         *Evidence          `json:"evidence" key:"no" doc:"Ask for an evidence bundle of each run: a folder with source, summary, handoff and every command."`
	ReadyTimeout   steps.Duration     `json:"ready_timeout" key:"no" min:"0s" doc:"How long the endpoint may take until it lists its model."`

	ceilings *sol.Ceilings // read from Ceilings
}

// Evidence says which bundle.
type Evidence struct {
	Family string `json:"family" key:"no" doc:"Family of experiments; not set is inference-perf-bench."`
	Intent string `json:"intent" key:"no" doc:"What the run is for, in a sentence."`
	Dir    string `json:"dir" key:"no" doc:"Folder of all families, from where pipeline is called; not set is experiments/artifacts."`
}

// Evidence implements steps.Evidenced.
func (s *Step) Evidence() *steps.Bundle {
	if s.Bundle == nil {
		return nil
	}
	return &steps.Bundle{
		Family: cmp.Or(s.Bundle.Family, "inference-perf-bench"), Intent: s.Bundle.Intent, Dir: cmp.Or(s.Bundle.Dir, "experiments/artifacts"),
	}
}

func (s *Step) declaration() endpoint.Declaration {
	return endpoint.Declaration{Model: s.Model, Hardware: s.Hardware, TensorParallel: s.TensorParallel, Args: s.Args, Further: s.Declare,
		Ceilings: s.ceilings, OwnCeilings: s.Ceilings != ""}
}

// Check refuses what cannot be declared.
func (s *Step) Check() error {
	if param, err := s.declaration().Check(); err != nil {
		return &steps.ParamError{Param: param, Err: err}
	}
	return nil
}

// observed is the shape of observed.json.
type observed struct {
	Schema   string            `json:"schema"`
	URL      string            `json:"url"`
	Time     time.Time         `json:"time"`
	Instance string            `json:"instance,omitempty"`
	Live     map[string]string `json:"live,omitempty"` // what a restart may change
	Answers  map[string]string `json:"answers"`
}

// Run probes the endpoint, compares, and writes what it is.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	if s.Ceilings != "" {
		var err error
		if s.ceilings, err = sol.ReadCeilings(string(s.Ceilings), env.Resolve(string(s.Ceilings))); err != nil {
			return fmt.Errorf("ceilings: %w: %w", err, steps.ErrPermanent)
		}
		if err := s.Check(); err != nil {
			return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
		}
	}
	servers := env.In["server"]
	if len(servers) != 1 {
		return fmt.Errorf("port server has %d endpoints, and one is looked at: give this step the axes of the step that serves: %w", len(servers), steps.ErrPermanent)
	}
	access, err := endpoint.AccessOf(servers[0].Live, env.Secret)
	if err != nil {
		return err
	}
	client, err := endpoint.NewClient(access)
	if err != nil {
		return err
	}
	defer client.Close()
	obs, err := endpoint.Probe(ctx, client, endpoint.Options{Log: access.Log, Model: s.Model.Name, ReadyTimeout: time.Duration(s.ReadyTimeout)})
	if err != nil {
		return explain(err, access)
	}
	if err := s.compare(env, &obs.Identity); err != nil {
		return err
	}
	if unknown := obs.Identity.Unknown; len(unknown) > 0 {
		env.Doubt("identity: the endpoint does not tell, and the spec does not declare: %s", strings.Join(unknown, ", "))
	}
	obs.Identity.Shares = s.shares(obs)
	if err := s.write(env, client.URL(), obs); err != nil {
		return err
	}
	if missing := obs.Identity.Unresolved(); len(missing) > 0 {
		return &steps.Failed{Partial: true, Final: true, Reason: fmt.Sprintf("identity_unresolved: neither the endpoint nor the spec says %s; what is measured there is not reused (declare them with args or declare)",
			strings.Join(missing, ", "))}
	}
	return nil
}

// shares is what reuse asks for beside the configuration.
func (s *Step) shares(obs endpoint.Observation) map[string]string {
	if s.Reuse == "config" {
		return nil
	}
	if s.Reuse == "node" {
		return map[string]string{endpoint.Node: obs.Identity.Value(endpoint.Node)}
	}
	// A process is on one node, so its start says that too.
	return map[string]string{"instance": cmp.Or(obs.Instance, perf.Unknown)}
}

// compare adds the declaration to the identity.
func (s *Step) compare(env *steps.Env, id *endpoint.Identity) error {
	d := s.declaration()
	differ := id.Declare(d.Values())
	if m, ok := d.GPUMismatch(*id); ok {
		differ = append(differ, m)
	}
	if len(differ) == 0 {
		return nil
	}
	lines := make([]string, len(differ))
	for i, m := range differ {
		lines[i] = m.String()
	}
	if !s.AllowMismatch {
		return fmt.Errorf("the endpoint is not what the spec declares: %s (correct the spec or the server, or set allow_mismatch): %w",
			strings.Join(lines, "; "), steps.ErrPermanent)
	}
	id.Differs = map[string]string{}
	for i, m := range differ {
		id.Differs[m.Field] = m.Declared
		env.Doubt("mismatch: %s", lines[i])
	}
	return nil
}

func (s *Step) write(env *steps.Env, url string, obs endpoint.Observation) error {
	identity, err := obs.Identity.Canonical()
	if err != nil {
		return err
	}
	evidence, err := digest.Canonical(observed{
		Schema: "observed/v1", URL: url, Time: env.Now().UTC(),
		Instance: obs.Instance, Live: obs.Live, Answers: obs.Answers,
	})
	if err != nil {
		return err
	}
	for name, b := range map[string][]byte{identityFile: identity, observedFile: append(evidence, '\n')} {
		w, err := env.Create(name)
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			w.Close()
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// explain adds what the error means for the engine, and why the server died
// where its log tells.
func explain(err error, access endpoint.Access) error {
	if errors.Is(err, endpoint.ErrRefused) {
		return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	if !errors.Is(err, endpoint.ErrNotReady) {
		return err
	}
	if cause := access.Cause(); cause != "" {
		return fmt.Errorf("%w: %w; its log says: %s", err, steps.ErrUnreachable, cause)
	}
	return fmt.Errorf("%w: %w", err, steps.ErrUnreachable)
}
