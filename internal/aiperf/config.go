package aiperf

import (
	"encoding/json"
	"fmt"
	"strings"

	"pipeline/lake/perf"
)

// A config is what a run was asked to do, as far as the artifacts tell.
type config struct {
	models    []string
	urls      []string
	endpoint  string // chat, completions, …
	command   string
	usage     bool // tokens are the server's count
	streaming *bool
	workload  perf.Workload
	told      []string // names of the fields of workload that were told
}

// Both generations of input_config: endpoint, input and loadgen (until 0.8), and
// lists of models, datasets and phases.
type inputConfig struct {
	Models struct {
		Items []struct {
			Name string `json:"name"`
		} `json:"items"`
	} `json:"models"`
	Endpoint struct {
		Models    []string `json:"model_names"`
		URL       string   `json:"url"`
		URLs      []string `json:"urls"`
		Type      string   `json:"type"`
		Streaming *bool    `json:"streaming"`
		Usage     bool     `json:"use_server_token_count"`
		Extra     options  `json:"extra"`
	} `json:"endpoint"`
	Input struct {
		Extra  options `json:"extra"`
		Seed   *int64  `json:"random_seed"`
		File   string  `json:"file"`
		Prompt struct {
			Input  length `json:"input_tokens"`
			Output length `json:"output_tokens"`
		} `json:"prompt"`
		Conversation struct {
			Turn length `json:"turn"`
		} `json:"conversation"`
	} `json:"input"`
	Loadgen struct {
		Concurrency *int     `json:"concurrency"`
		Rate        *float64 `json:"request_rate"`
		Pattern     string   `json:"arrival_pattern"`
		Mode        string   `json:"request_rate_mode"`
		Count       *int     `json:"request_count"`
		Warmup      *int     `json:"warmup_request_count"`
	} `json:"loadgen"`
	Datasets []struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Path    string `json:"path"`
		Seed    *int64 `json:"random_seed"`
		Prompts struct {
			ISL length `json:"isl"`
			OSL length `json:"osl"`
		} `json:"prompts"`
		Turns length `json:"turns"`
	} `json:"datasets"`
	Phases []struct {
		Kind        string   `json:"kind"`
		Name        string   `json:"name"`
		Type        string   `json:"type"`
		Requests    *int     `json:"requests"`
		Concurrency *int     `json:"concurrency"`
		Rate        *float64 `json:"rate"`
	} `json:"phases"`
	Command string `json:"cli_command"`
}

// A length is a distribution of which the mean is of interest. Versions write
// it as an object or as a number.
type length struct{ mean *float64 }

func (l *length) UnmarshalJSON(text []byte) error {
	var object struct {
		Mean *float64 `json:"mean"`
	}
	if len(text) > 0 && text[0] == '{' {
		err := json.Unmarshal(text, &object)
		l.mean = object.Mean
		return err
	}
	return json.Unmarshal(text, &l.mean)
}

// options are extra inputs: an object, or a list of pairs.
type options map[string]any

func (o *options) UnmarshalJSON(text []byte) error {
	*o = options{}
	if len(text) == 0 || text[0] != '[' {
		return json.Unmarshal(text, (*map[string]any)(o))
	}
	var pairs [][]any
	if err := json.Unmarshal(text, &pairs); err != nil {
		return err
	}
	for _, pair := range pairs {
		if len(pair) == 2 {
			(*o)[fmt.Sprint(pair[0])] = pair[1]
		}
	}
	return nil
}

func (c *config) read(raw json.RawMessage) error {
	var in inputConfig
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	c.command, c.endpoint, c.usage, c.streaming = in.Command, in.Endpoint.Type, in.Endpoint.Usage, in.Endpoint.Streaming
	c.models, c.urls = in.Endpoint.Models, in.Endpoint.URLs
	for _, m := range in.Models.Items {
		c.models = append(c.models, m.Name)
	}
	if in.Endpoint.URL != "" {
		c.urls = append(c.urls, in.Endpoint.URL)
	}
	c.work(&in)
	return nil
}

// work fills the workload, and notes what was told.
func (c *config) work(in *inputConfig) {
	w := &c.workload
	told := func(name string) { c.told = append(c.told, name) }
	if c.endpoint == "chat" || c.endpoint == "completions" {
		w.API = c.endpoint
		told("api")
	}
	tokens := func(to *int, name string, lengths ...length) {
		for _, l := range lengths {
			if l.mean != nil && *l.mean > 0 && *l.mean < 1e9 {
				*to = int(*l.mean + 0.5)
				told(name)
				return
			}
		}
	}
	count := func(to *int, name string, n *int) {
		if n != nil && *n >= 0 {
			*to = *n
			told(name)
		}
	}
	tokens(&w.ISL, "isl", in.Input.Prompt.Input)
	tokens(&w.OSL, "osl", in.Input.Prompt.Output)
	tokens(&w.Turns, "turns", in.Input.Conversation.Turn)
	w.Dataset = in.Input.File
	seed := in.Input.Seed
	for _, d := range in.Datasets[:min(1, len(in.Datasets))] {
		tokens(&w.ISL, "isl", d.Prompts.ISL)
		tokens(&w.OSL, "osl", d.Prompts.OSL)
		tokens(&w.Turns, "turns", d.Turns)
		seed, w.Dataset = d.Seed, d.Path
		if d.Type == "synthetic" {
			w.Dataset = "synthetic"
		}
	}
	if seed != nil {
		w.Seed = *seed
		told("random_seed")
	}
	if w.Dataset != "" {
		told("dataset")
	}
	rate, pattern := in.Loadgen.Rate, in.Loadgen.Pattern+in.Loadgen.Mode
	count(&w.Concurrency, "concurrency", in.Loadgen.Concurrency)
	count(&w.NumPrompts, "num_prompts", in.Loadgen.Count)
	count(&w.Warmup, "warmup_requests", in.Loadgen.Warmup)
	for _, p := range in.Phases {
		if p.Kind == "warmup" || p.Kind == "" && p.Name == "warmup" {
			count(&w.Warmup, "warmup_requests", p.Requests)
			continue
		}
		count(&w.Concurrency, "concurrency", p.Concurrency)
		count(&w.NumPrompts, "num_prompts", p.Requests)
		rate, pattern = p.Rate, p.Type
	}
	c.arrival(rate, pattern)
	for _, extra := range []options{in.Input.Extra, in.Endpoint.Extra} {
		c.extras(extra)
	}
}

func (c *config) arrival(rate *float64, pattern string) {
	w := &c.workload
	switch {
	case rate != nil && *rate > 0:
		w.RequestRate, w.Arrival = *rate, perf.Poisson // AIPerf's default
		for _, other := range []string{perf.Constant, "gamma", "user_centric"} {
			if strings.Contains(pattern, other) {
				w.Arrival = other
			}
		}
		c.told = append(c.told, "request_rate", "arrival")
	case strings.Contains(pattern, "fixed_schedule"):
		w.Arrival = "fixed_schedule"
		c.told = append(c.told, "arrival")
	case w.Concurrency > 0:
		w.Arrival = perf.Closed
		c.told = append(c.told, "arrival")
	}
}

// extras takes what is known of the fields added to each request.
func (c *config) extras(extra options) {
	for name, value := range extra {
		switch v := value.(type) {
		case bool:
			if name == "ignore_eos" {
				c.workload.IgnoreEOS = v
				c.told = append(c.told, "ignore_eos")
			}
		case string:
			if name == "ignore_eos" {
				c.workload.IgnoreEOS = strings.EqualFold(v, "true")
				c.told = append(c.told, "ignore_eos")
			}
		case float64:
			if name == "temperature" {
				c.workload.Temperature = &v
				c.told = append(c.told, "temperature")
			}
		}
	}
}
