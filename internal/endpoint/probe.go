package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/prom"
)

// SimulatedHeader is set by the simulated endpoint on every answer.
const SimulatedHeader = "X-Pipeline-Simulated"

const (
	modelsPath     = "/v1/models"
	versionPath    = "/version"
	metricsPath    = "/metrics"
	serverInfoPath = "/server_info?config_format=json"
)

// Options say how to probe.
type Options struct {
	Model        string        // the served name to look for; "" takes the only one there is
	ReadyTimeout time.Duration // how long the server may take until it lists a model; 0 asks once
	Poll         time.Duration // between two tries; 0 is half a second
	Log          string        // path of the server's log on this machine; "" is none
}

// An Observation is what a probe saw.
type Observation struct {
	Identity Identity
	Instance string            // changes with each restart of the server; "" if it does not tell
	Live     map[string]string // what the server tells that a restart may change: num_gpu_blocks
	Answers  map[string]string // status and head of each answer by request, as evidence
}

// ErrNotReady says that the endpoint did not answer or listed no model in time.
var ErrNotReady = errors.New("the endpoint is not ready")

// ErrRefused says that the endpoint answers, but not to us.
var ErrRefused = errors.New("the endpoint refuses the request")

// Probe asks the endpoint what it is. What it does not tell is unknown. An
// endpoint that does not become ready is ErrNotReady with the last answer.
func Probe(ctx context.Context, c *Client, o Options) (Observation, error) {
	obs := Observation{Identity: newIdentity(), Live: map[string]string{}, Answers: map[string]string{}}
	models, err := waitReady(ctx, c, o)
	if err != nil {
		return Observation{}, err
	}
	obs.Answers["GET "+modelsPath] = models.Head()
	obs.simulated(models.Header.Get(SimulatedHeader) != "", "header "+SimulatedHeader)
	if err := obs.models(models, o.Model); err != nil {
		return Observation{}, fmt.Errorf("GET %s%s: %w", c.URL(), modelsPath, err)
	}
	for _, ask := range []struct {
		path string
		read func(Answer)
	}{
		{serverInfoPath, obs.serverInfo},
		{versionPath, obs.version},
		{metricsPath, obs.metrics},
	} {
		a, err := patiently(ctx, c, ask.path)
		if err != nil {
			return Observation{}, fmt.Errorf("probe %s: the endpoint listed its models and then stopped answering: %w", c.URL(), err)
		}
		obs.Answers["GET "+ask.path] = a.Head()
		if a.Status == http.StatusOK {
			ask.read(a)
		}
	}
	obs.startup(o.Log)
	obs.Identity.set(Simulated, "false", "nothing says so")
	obs.Identity.settle()
	return obs, nil
}

// simulated notes that the endpoint says it is a simulation. It says so in
// three places, so that a gateway which drops headers does not hide it.
func (o *Observation) simulated(yes bool, source string) {
	if id := &o.Identity; yes && id.Values[Simulated] == "" {
		// Over what owned_by says, which is vllm.
		id.Values[Engine], id.Sources[Engine] = "vllm-sim", source
		id.set(Simulated, "true", source)
	}
}

// Ready waits until the endpoint lists a model.
func Ready(ctx context.Context, c *Client, o Options) error {
	_, err := waitReady(ctx, c, o)
	return err
}

// waitReady polls /v1/models, because /health of some servers answers before
// the model is there.
func waitReady(ctx context.Context, c *Client, o Options) (Answer, error) {
	poll := o.Poll
	if poll <= 0 {
		poll = 500 * time.Millisecond
	}
	limit := time.NewTimer(o.ReadyTimeout)
	defer limit.Stop()
	for tries := 1; ; tries++ {
		a, err := c.Do(ctx, http.MethodGet, modelsPath)
		said := a.Head()
		if err != nil {
			said = err.Error()
		}
		switch {
		case err == nil && a.Status == http.StatusOK && listsModels(a.Body):
			return a, nil
		case ctx.Err() != nil:
			return Answer{}, ctx.Err()
		case err == nil && (a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden):
			return Answer{}, fmt.Errorf("%w: GET %s%s: %s (is api_key_env set?)", ErrRefused, c.URL(), modelsPath, said)
		}
		select {
		case <-limit.C:
			return Answer{}, fmt.Errorf("%w: GET %s%s tried %d times within %s, the last one said: %s",
				ErrNotReady, c.URL(), modelsPath, tries, o.ReadyTimeout, said)
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// patiently asks a few times, so that one lost connection does not look like
// an endpoint that has changed.
func patiently(ctx context.Context, c *Client, path string) (Answer, error) {
	var a Answer
	var err error
	for try := range 3 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return Answer{}, ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
		}
		if a, err = c.Do(ctx, http.MethodGet, path); err == nil && !passing(a.Status) {
			break
		}
	}
	return a, err
}

// passing reports whether a status may be another one on the next try. 501 is
// how llama.cpp says that it has no /metrics.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

// A servedModel is one entry of /v1/models.
type servedModel struct {
	ID          string      `json:"id"`
	Root        string      `json:"root"`
	OwnedBy     string      `json:"owned_by"`
	MaxModelLen json.Number `json:"max_model_len"`
}

type modelList struct {
	Data []servedModel `json:"data"`
}

func listsModels(body []byte) bool {
	var list modelList
	return json.Unmarshal(body, &list) == nil && len(list.Data) > 0 && list.Data[0].ID != ""
}

func (o *Observation) models(a Answer, want string) error {
	var list modelList
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return err
	}
	m, err := choose(list.Data, want)
	if err != nil {
		return err
	}
	const source = "GET " + modelsPath
	id := &o.Identity
	id.set(Model, m.ID, source)
	id.set(ModelRoot, m.Root, source)
	id.set(MaxModelLen, m.MaxModelLen.String(), source)
	switch m.OwnedBy {
	case "vllm", "sglang":
		id.set(Engine, m.OwnedBy, source)
	case "llamacpp":
		id.set(Engine, "llama.cpp", source)
	}
	return nil
}

func choose(served []servedModel, want string) (servedModel, error) {
	names := make([]string, 0, len(served))
	for _, m := range served {
		if want != "" && (m.ID == want || m.Root == want) {
			return m, nil
		}
		names = append(names, m.ID)
	}
	if len(served) == 1 {
		return served[0], nil
	}
	if want == "" {
		return servedModel{}, fmt.Errorf("the endpoint serves %s: say which in model.name", strings.Join(names, ", "))
	}
	return servedModel{}, fmt.Errorf("the endpoint serves %s, and no %s", strings.Join(names, ", "), want)
}

func (o *Observation) version(a Answer) {
	var v struct {
		Version   string `json:"version"`
		Simulated bool   `json:"simulated"`
	}
	if json.Unmarshal(a.Body, &v) == nil {
		o.simulated(v.Simulated, "GET "+versionPath)
		o.Identity.set(EngineVersion, v.Version, "GET "+versionPath)
	}
}

// metrics reads the labels of vllm:cache_config_info, which are a part of the
// server's configuration, and the number of engines behind the address.
func (o *Observation) metrics(a Answer) {
	s, err := prom.Parse(bytes.NewReader(a.Body))
	if err != nil {
		o.Answers["GET "+metricsPath] += " (" + err.Error() + ")"
		return
	}
	const source = "GET " + metricsPath
	id := &o.Identity
	if info, _ := s.Find("pipeline_sim_info"); len(info) > 0 {
		o.simulation(info[0].Labels, source)
	}
	if info, _ := s.Find("vllm:cache_config_info"); len(info) > 0 {
		id.set(Engine, "vllm", source)
		for label, v := range info[0].Labels {
			switch field, known := cacheLabels()[label]; {
			case !known:
				id.set("args."+label, v, source)
			case field == "":
				o.Live[label] = v
			default:
				id.set(field, v, source)
			}
		}
	}
	// One engine says nothing: further replicas may have addresses of their own.
	if n := len(s.Values("vllm:", "engine")); n > 1 {
		id.set(DP, strconv.Itoa(n), source)
	}
	// Python's client has a _created twin of each counter, with the time of its birth.
	if start, _ := s.Find("process_start_time_seconds", "vllm:generation_tokens_created"); len(start) > 0 {
		o.Instance = strconv.FormatFloat(start[0].Value, 'f', -1, 64)
	}
}

// cacheLabels maps labels of vllm:cache_config_info to fields; "" is for what
// a restart with the same arguments may change, and for names of the series.
func cacheLabels() map[string]string {
	return map[string]string{
		"block_size": BlockSize, "cache_dtype": KVCacheDtype, "enable_prefix_caching": PrefixCaching,
		"gpu_memory_utilization": GPUMemUtilization,
		"num_gpu_blocks":         "", "num_cpu_blocks": "", "kv_cache_size_tokens": "", "kv_cache_max_concurrency": "",
		"engine": "", "model_name": "",
	}
}

// simulation reads what the simulated endpoint says of itself.
func (o *Observation) simulation(labels map[string]string, source string) {
	o.simulated(true, source)
	id := &o.Identity
	id.set(CeilingKey, labels["hardware"], source)
	if g, err := gpu(labels["hardware"]); err == nil && len(g.Tokens) > 0 {
		id.set(Hardware, g.Tokens[0], source)
	}
	id.set(ModelShape, labels["model_shape"], source)
	id.set(TP, labels["tensor_parallel_size"], source)
	id.set(GPUCount, labels["tensor_parallel_size"], source)
	for _, knob := range []string{"version", "efficiency", "time_scale"} {
		id.set("args.sim_"+knob, labels[knob], source)
	}
}
