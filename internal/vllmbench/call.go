package vllmbench

import (
	"regexp"
	"strconv"
	"strings"

	"pipeline/internal/tool"
	"pipeline/lake/perf"
)

// A Call is one call of `vllm bench serve`.
type Call struct {
	URL, Model string
	Tokenizer  string // a name on the hub, or a folder; "" is the model's
	Workload   perf.Workload
	Seed       int64  // below 1<<32
	Input      string // a file of prompts in place of random ones
	Folder     string // of the result
	Insecure   bool   // trust any certificate
	Extra      []string
}

// ResultFile is the name of the result in Folder.
const ResultFile = "vllm_bench.json"

// KeyVar is the environment variable that the tool takes the API key from.
const KeyVar = "OPENAI_API_KEY"

// Args is the command line behind `vllm`. No secret is in it.
func (c *Call) Args() []string {
	w := &c.Workload
	args := []string{"bench", "serve"}
	add := func(words ...string) { args = append(args, words...) }
	if w.API == "chat" {
		add("--backend", "openai-chat", "--endpoint", "/v1/chat/completions")
	} else {
		add("--backend", "openai", "--endpoint", "/v1/completions")
	}
	add("--base-url", c.URL, "--model", c.Model, "--served-model-name", c.Model)
	if c.Tokenizer != "" {
		add("--tokenizer", c.Tokenizer)
	}
	if c.Input != "" {
		add("--dataset-name", "custom", "--dataset-path", c.Input, "--custom-output-len", "-1", "--disable-shuffle", "--skip-chat-template", "--no-oversample")
	} else {
		add("--dataset-name", "random", "--random-input-len", strconv.Itoa(w.ISL-w.SharedPrefix), "--random-output-len", strconv.Itoa(w.OSL), "--random-range-ratio", "0")
		if w.SharedPrefix > 0 {
			add("--random-prefix-len", strconv.Itoa(w.SharedPrefix))
		}
	}
	add("--num-prompts", strconv.Itoa(w.NumPrompts))
	if w.Concurrency > 0 {
		add("--max-concurrency", strconv.Itoa(w.Concurrency))
	}
	if w.Arrival == perf.Closed {
		add("--request-rate", "inf")
	} else {
		add("--request-rate", decimal(w.RequestRate), "--burstiness", "1")
	}
	add("--num-warmups", strconv.Itoa(w.Warmup), "--ready-check-timeout-sec", "0", "--seed", strconv.FormatInt(c.Seed, 10))
	if w.Temperature != nil {
		add("--temperature", decimal(*w.Temperature))
	}
	if w.IgnoreEOS {
		add("--ignore-eos")
	}
	if goodput := c.goodput(); len(goodput) > 0 {
		add(append([]string{"--goodput"}, goodput...)...)
	}
	if c.Insecure {
		add("--insecure")
	}
	add("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,95,99",
		"--save-result", "--save-detailed", "--result-dir", c.Folder, "--result-filename", ResultFile)
	return append(args, c.Extra...)
}

func (c *Call) goodput() []string {
	var limits []string
	for _, l := range []struct {
		metric string
		ms     float64
	}{{"ttft", c.Workload.TTFTSLOms}, {"tpot", c.Workload.TPOTSLOms}, {"e2el", c.Workload.E2ESLOms}} {
		if l.ms > 0 {
			limits = append(limits, l.metric+":"+decimal(l.ms))
		}
	}
	return limits
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Cannot says why the tool cannot put a workload on an endpoint, "" if it can.
func Cannot(w perf.Workload) string {
	switch {
	case w.Turns > 1:
		return "it knows no conversations"
	case w.Arrival == perf.Constant:
		return "it has no constant arrivals; poisson it has"
	case w.RampUpS > 0:
		return "its streams start all at once"
	case w.SharedPrefix > 0 && w.SharedPrefix == w.ISL:
		return "it gives each prompt a token of its own at least"
	}
	return ""
}

// owned are the flags that a Call sets, with what sets them.
func owned() map[string]string {
	flags := map[string]string{}
	for by, names := range map[string]string{
		"the endpoint":               "--base-url --host --port --endpoint --insecure",
		"api":                        "--backend --endpoint-type --no-stream",
		"model of init":              "--model --served-model-name --lora-modules --lora-assignment",
		"vllm_bench.tokenizer":       "--tokenizer --skip-tokenizer-init",
		"num_prompts":                "--num-prompts",
		"concurrency":                "--max-concurrency",
		"request_rate":               "--request-rate --burstiness --ramp-up-strategy --ramp-up-start-rps --ramp-up-end-rps",
		"warmup":                     "--num-warmups --ready-check-timeout-sec",
		"isl":                        "--random-input-len --input-len --random-range-ratio --random-batch-size",
		"osl":                        "--random-output-len --output-len --custom-output-len --sharegpt-output-len --hf-output-len",
		"shared_prefix":              "--random-prefix-len",
		"port dataset":               "--dataset-name --dataset-path --disable-shuffle --no-oversample --skip-chat-template",
		"seed":                       "--seed",
		"temperature":                "--temperature",
		"ignore_eos":                 "--ignore-eos",
		"slo":                        "--goodput",
		"what is read of the result": "--save-result --save-detailed --append-result --result-dir --result-filename --percentile-metrics --metric-percentiles --disable-tqdm",
		"it may say anything: name the arguments": "--config",
		tool.SecretArg: "--header",
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

// Begins is what the tool says when the measured requests begin.
const Begins = "Starting main benchmark run"

var barRE = regexp.MustCompile(`\b(\d+)/(\d+) \[`)

// Bar reads a state of the tool's progress bar.
func Bar(line string) (done, total int, ok bool) {
	m := barRE.FindStringSubmatch(line)
	if m == nil {
		return 0, 0, false
	}
	done, err1 := strconv.Atoi(m[1])
	total, err2 := strconv.Atoi(m[2])
	return done, total, err1 == nil && err2 == nil
}

// Complaint returns what the tool says of its failure, out of the last lines
// that it wrote: the end of a traceback, or of the help that a bad argument
// brings.
func Complaint(tail string) string {
	lines := strings.Split(strings.TrimSpace(tail), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(lines[i]); strings.Contains(line, "Error: ") || strings.Contains(line, "error: ") || strings.Contains(line, "Exception: ") {
			return line
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
