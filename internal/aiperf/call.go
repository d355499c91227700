package aiperf

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/tool"
	"pipeline/lake/perf"
)

// A Call is one call of `aiperf profile`: one load, once. Sweeps and trials are
// the caller's, so that each is a measurement of its own.
type Call struct {
	URL, Model string
	Tokenizer  string // a name on the hub, a folder, or builtin; "" is the model's
	Workload   perf.Workload
	Seed       int64
	Prompts    int    // distinct prompts, or conversations; 0 is as many as are sent
	Input      string // a file of prompts in place of synthetic ones
	InputType  string // its --custom-dataset-type
	Folder     string // of the artifacts
	KeyVar     string // the environment variable that holds the API key; "" is none
	Config     string // where the caller put ConfigFile, if there is a key
	Extra      []string
}

// Args is the command line behind `aiperf`. No secret is in it.
func (c *Call) Args() []string {
	w := &c.Workload
	args := []string{"profile"}
	add := func(words ...string) { args = append(args, words...) }
	if c.KeyVar != "" {
		add("--config", c.Config)
	}
	add("--model", c.Model, "--url", c.URL, "--endpoint-type", w.API, "--streaming", "--use-server-token-count")
	if c.Tokenizer != "" {
		add("--tokenizer", c.Tokenizer)
	}
	c.addLoad(add)
	c.addPrompts(add)
	add("--random-seed", strconv.FormatInt(c.Seed, 10))
	if w.RequestTimeoutS > 0 {
		add("--request-timeout-seconds", number(w.RequestTimeoutS))
	}
	if goodput := c.goodput(); goodput != "" {
		add("--goodput", goodput)
	}
	add("--export-level", "records", "--artifact-dir", c.Folder, "--ui", "none")
	if !given(c.Extra, "--server-metrics-formats") {
		add("--server-metrics-formats", "json")
	}
	if !given(c.Extra, "--gpu-telemetry") && !given(c.Extra, "--no-gpu-telemetry") {
		add("--no-gpu-telemetry") // else it asks the exporter of this machine, which need not be the server's
	}
	return append(args, c.Extra...)
}

func (c *Call) addLoad(add func(...string)) {
	w := &c.Workload
	if w.Arrival == perf.Closed {
		add("--concurrency", strconv.Itoa(w.Concurrency))
		if w.RampUpS > 0 {
			add("--concurrency-ramp-duration", number(w.RampUpS))
		}
	} else {
		add("--request-rate", number(w.RequestRate), "--arrival-pattern", w.Arrival)
		if w.Concurrency > 0 {
			add("--concurrency", strconv.Itoa(w.Concurrency))
		}
	}
	add("--request-count", strconv.Itoa(w.NumPrompts))
	if w.Warmup > 0 {
		add("--warmup-request-count", strconv.Itoa(w.Warmup))
	}
	inputs := []string{}
	if w.IgnoreEOS {
		inputs = append(inputs, "ignore_eos:true")
		if c.Input == "" {
			inputs = append(inputs, "min_tokens:"+strconv.Itoa(w.OSL))
		}
	}
	if w.Temperature != nil {
		inputs = append(inputs, "temperature:"+number(*w.Temperature))
	}
	for _, input := range inputs {
		add("--extra-inputs", input)
	}
}

// addPrompts says what is asked. AIPerf makes a hundred prompts unless told
// otherwise, and takes turns at them: then a prefix cache answers.
func (c *Call) addPrompts(add func(...string)) {
	w := &c.Workload
	if c.Input != "" {
		if c.KeyVar == "" { // else the config file has them
			add("--input-file", c.Input, "--custom-dataset-type", c.InputType)
		}
		add("--dataset-sampling-strategy", "sequential")
		return
	}
	isl := w.ISL
	if w.SharedPrefix > 0 {
		isl -= w.SharedPrefix
		add("--num-prefix-prompts", "1", "--prefix-prompt-length", strconv.Itoa(w.SharedPrefix))
	}
	add("--isl", strconv.Itoa(isl), "--isl-stddev", "0", "--osl", strconv.Itoa(w.OSL), "--osl-stddev", "0")
	if w.Turns > 1 {
		conversations := c.conversations()
		add("--conversation-num", strconv.Itoa(conversations), "--conversation-turn-mean", strconv.Itoa(w.Turns), "--conversation-turn-stddev", "0",
			"--num-dataset-entries", strconv.Itoa(conversations*w.Turns))
	} else {
		add("--num-dataset-entries", strconv.Itoa(c.prompts()))
	}
	add("--dataset-sampling-strategy", "sequential")
}

func (c *Call) prompts() int {
	if c.Prompts > 0 {
		return c.Prompts
	}
	return c.Workload.NumPrompts + c.Workload.Warmup
}

// conversations is how many conversations are needed so that none comes twice.
// The load ends in the middle of those that are under way then, and so does
// the warm-up.
func (c *Call) conversations() int {
	if c.Prompts > 0 {
		return c.Prompts
	}
	return Conversations(c.Workload)
}

// Conversations is how many conversations of a workload's turns AIPerf may begin.
func Conversations(w perf.Workload) int {
	turns := max(1, w.Turns)
	if turns == 1 {
		return w.NumPrompts + w.Warmup
	}
	streams := w.Concurrency
	if w.Arrival != perf.Closed {
		streams = w.NumPrompts // each arrival may begin one
	}
	return (w.NumPrompts+turns-1)/turns + min(streams, w.NumPrompts) + w.Warmup
}

func (c *Call) goodput() string {
	var limits []string
	for _, l := range []struct {
		metric string
		ms     float64
	}{{"time_to_first_token", c.Workload.TTFTSLOms}, {"inter_token_latency", c.Workload.TPOTSLOms}, {"request_latency", c.Workload.E2ESLOms}} {
		if l.ms > 0 {
			limits = append(limits, l.metric+":"+number(l.ms))
		}
	}
	return strings.Join(limits, " ")
}

// ConfigFile is a config file of AIPerf that takes the API key from KeyVar: on
// the command line, anyone on the machine could read it. What else it must
// hold, the command line says again.
func (c *Call) ConfigFile() ([]byte, error) {
	w := &c.Workload
	phase := map[string]any{"name": "profiling", "kind": "profiling", "type": "concurrency", "concurrency": w.Concurrency, "requests": w.NumPrompts}
	if w.Arrival != perf.Closed {
		phase["type"], phase["rate"] = w.Arrival, w.RequestRate
		delete(phase, "concurrency")
	}
	data := map[string]any{"name": "main", "type": "synthetic", "entries": c.prompts(), "prompts": map[string]any{"isl": w.ISL, "osl": w.OSL}}
	if c.Input != "" {
		data = map[string]any{"name": "main", "type": "file", "path": c.Input, "format": c.InputType}
	}
	// YAML reads JSON.
	return json.MarshalIndent(map[string]any{"benchmark": map[string]any{
		"endpoint": map[string]any{"api_key": "${" + c.KeyVar + "}"}, "datasets": []any{data}, "phases": []any{phase},
	}}, "", "  ")
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// given reports whether a flag is among arguments.
func given(args []string, flag string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return a == flag || strings.HasPrefix(a, flag+"=") })
}

// owned are the flags that a Call sets, or that would make several runs of one,
// with what sets them.
func owned() map[string]string {
	const once, untrue = "one call is one load, once: use the matrix", "the load would be another one than the setting says"
	flags := map[string]string{}
	for by, names := range map[string]string{
		"model of init":                 "--model-names --model -m --model-selection-strategy --wait-for-model-*",
		"the endpoint":                  "--url -u --url-strategy --api-key --custom-endpoint --endpoint --transport --transport-type",
		"api":                           "--endpoint-type --streaming --stream --use-legacy-max-tokens --apply-chat-template",
		"aiperf.tokenizer":              "--tokenizer",
		"concurrency":                   "--concurrency --concurrency-max --concurrency-min --concurrency-steps --prefill-concurrency*",
		"ramp_up":                       "--concurrency-ramp-duration",
		"request_rate":                  "--request-rate --request-rate-ramp-* --request-rate-series",
		"arrival":                       "--arrival-pattern --request-rate-mode --arrival-smoothness --burstiness --vllm-burstiness --timing-strategy",
		"num_prompts":                   "--request-count --num-requests --benchmark-duration --benchmark-grace-period",
		"warmup":                        "--warmup-* --num-warmup-* --agentic-*",
		"isl":                           "--prompt-input-tokens-mean --synthetic-input-tokens-mean --isl --prompt-input-tokens-stddev --synthetic-input-tokens-stddev --isl-stddev --isl-min --isl-max --isl-steps --isl-block-size --prompt-input-tokens-block-size --batch-size* --batch-size-text --prompt-batch-size -b --prompt-corpus --random-corpus-style --seq-dist --sequence-distribution --random-range-ratio",
		"osl":                           "--prompt-output-tokens-mean --output-tokens-mean --osl --prompt-output-tokens-stddev --output-tokens-stddev --osl-stddev --osl-min --osl-max --osl-steps --force-min-tokens --max-context-length",
		"shared_prefix":                 "--prompt-prefix-pool-size --prefix-prompt-pool-size --num-prefix-prompts --prompt-prefix-length --prefix-prompt-length --shared-system-prompt-length --user-context-prompt-length --system-prompt*",
		"turns":                         "--conversation-turn-mean --session-turns-mean --conversation-turn-stddev --session-turns-stddev --conversation-turn-delay-* --session-turn-delay-* --session-delay-ratio --inter-turn-delay-*",
		"aiperf.unique_prompts":         "--conversation-num --num-conversations --num-sessions --num-dataset-entries --num-prompts",
		"port dataset":                  "--input-file --custom-dataset-type --public-dataset --hf-weka-dataset --hf-subset --dataset-sampling-strategy --dataset-filter --dataset-name --allow-dataset-wrap --fixed-schedule* --synthesis-* --trace-* --trajectory-* --replay-* --open-loop-* --ignore-trace-delays --max-idle-gap-cap-seconds --system-idle-gap-cap-seconds --image-* --audio-* --video-* --rankings-* --accuracy-* --omit-kv-hints -k",
		"seed":                          "--random-seed",
		"request_timeout":               "--request-timeout-seconds",
		"slo":                           "--goodput",
		"what is read of the artifacts": "--output-artifact-dir --artifact-dir --profile-export-prefix --profile-export-file --export-level --profile-export-level --use-server-token-count --config -f",
		"the progress":                  "--ui --ui-type",
		tool.SecretArg:                  "--header -H",
		untrue:                          "--user-centric-rate --num-users --request-cancellation-* --burst-phase-starts --connection-reuse-strategy --cache-bust --failed-request-threshold --unsafe-override",
		"cache_regime":                  "--reset-kv-cache*",
		once: "--num-profile-runs --profile-run-* --sweep-* --variant --search-* --parameter-sweep-* --convergence-* --isl-osl-pairs --scenario --optuna-* --degradation-* --plateau-cv " +
			"--improvement-patience --bo-constraint-mode --slo-attainment-fraction --ttft-sla-ms --tpot-sla-ms --itl-sla-ms --e2e-sla-ms --error-rate-sla",
	} {
		for _, name := range strings.Fields(names) {
			flags[name] = by
		}
	}
	return flags
}

// CheckExtra refuses arguments beside those of a Call that would change what it
// sets, or that may hold a secret.
func CheckExtra(args []string) error { return tool.CheckArgs(args, owned()) }

// Environment is what AIPerf needs of its environment for a workload.
func (c *Call) Environment() []string {
	// Beyond its limit of connections AIPerf queues without a word.
	const usual = 2500
	return []string{"AIPERF_HTTP_CONNECTION_LIMIT=" + strconv.Itoa(max(usual, c.Workload.Concurrency))}
}

// Complaint returns what AIPerf says of its own failure, out of the last lines
// that it wrote: the reasons in the box of its errors, else its first error,
// else its last line. It is "" if it wrote nothing.
func Complaint(tail string) string {
	lines := strings.Split(strings.TrimSpace(tail), "\n")
	if reasons := boxed(lines); len(reasons) > 0 {
		return strings.Join(reasons, "; ")
	}
	for i, line := range lines {
		if before, text, found := strings.Cut(line, " ERROR "); found && strings.Contains(before, ":") {
			return strings.TrimSpace(text + indented(lines[i+1:]))
		}
	}
	return strings.Trim(lines[len(lines)-1], " │╰─╯")
}

// indented is what of a message stands on the lines below its first.
func indented(lines []string) string {
	var text strings.Builder
	for _, line := range lines {
		if rest := strings.TrimLeft(line, " "); rest == "" || len(line)-len(rest) < 8 {
			break
		}
		text.WriteString(" " + strings.TrimSpace(line))
	}
	return text.String()
}

// maxComplaint bounds what is told of a box: the advice in it goes on for long.
const maxComplaint = 600

// boxed reads the last box that AIPerf draws around what went wrong: in one of
// services the reasons, else all that is in it. A reason goes on over the lines
// that are indented more.
func boxed(lines []string) []string {
	var reasons, all []string
	inside, open := false, false
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "╭"):
			inside, open, reasons, all = true, false, nil, nil
			continue
		case strings.HasPrefix(line, "╰"):
			inside = false
		}
		text, ok := strings.CutPrefix(line, "│")
		if !inside || !ok {
			continue
		}
		text = strings.TrimSpace(strings.TrimSuffix(strings.TrimRight(text, " "), "│"))
		reason, begins := strings.CutPrefix(text, "Reason:")
		switch {
		case begins:
			reasons, open = append(reasons, strings.TrimSpace(reason)), true
		case text == "" || strings.HasPrefix(text, "•") || strings.HasPrefix(text, "Cause:"):
			open = false
		case open:
			reasons[len(reasons)-1] += " " + text
		}
		if text != "" {
			all = append(all, text)
		}
	}
	if len(reasons) == 0 && len(all) > 0 {
		text := strings.Join(all, " ")
		return []string{strings.ToValidUTF8(text[:min(len(text), maxComplaint)], "")}
	}
	return slices.Compact(reasons)
}
