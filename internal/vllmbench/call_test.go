package vllmbench

import (
	"strings"
	"testing"

	"pipeline/lake/perf"
)

func TestCallArgs(t *testing.T) {
	zero := 0.0
	closed := perf.Workload{API: "completions", Arrival: perf.Closed, Concurrency: 4, NumPrompts: 40, Warmup: 2, ISL: 128, OSL: 32, IgnoreEOS: true}
	with := func(change func(*Call)) Call {
		c := Call{URL: "http://h:1", Model: "org/m", Folder: "out", Workload: closed, Seed: 7}
		change(&c)
		return c
	}
	const (
		completions = "bench serve --backend openai --endpoint /v1/completions --base-url http://h:1 --model org/m --served-model-name org/m "
		random      = "--dataset-name random --random-input-len 128 --random-output-len 32 --random-range-ratio 0 "
		seed        = "--num-warmups 2 --ready-check-timeout-sec 0 --seed 7 "
		tail        = "--percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,95,99 --save-result --save-detailed --result-dir out --result-filename vllm_bench.json"
	)
	for _, c := range []struct {
		name string
		call Call
		want string
	}{
		{"closed loop", with(func(*Call) {}), completions + random + "--num-prompts 40 --max-concurrency 4 --request-rate inf " + seed + "--ignore-eos " + tail},
		{"open loop of chats", with(func(c *Call) {
			c.Workload.API, c.Workload.Arrival, c.Workload.RequestRate, c.Workload.Concurrency, c.Workload.IgnoreEOS, c.Tokenizer = "chat", perf.Poisson, 2.5, 0, false, "tok"
		}), strings.Replace(completions, "openai --endpoint /v1/completions", "openai-chat --endpoint /v1/chat/completions", 1) + "--tokenizer tok " + random +
			"--num-prompts 40 --request-rate 2.5 --burstiness 1 " + seed + tail},
		{"a prefix, limits, a temperature", with(func(c *Call) {
			c.Workload.SharedPrefix, c.Workload.TTFTSLOms, c.Workload.E2ESLOms, c.Workload.Temperature, c.Insecure = 100, 250, 3000, &zero, true
		}), completions + strings.Replace(random, "128", "28", 1) + "--random-prefix-len 100 --num-prompts 40 --max-concurrency 4 --request-rate inf " + seed +
			"--temperature 0 --ignore-eos --goodput ttft:250 e2el:3000 --insecure " + tail},
		{"a file, and what the user adds", with(func(c *Call) { c.Input, c.Extra = "in.jsonl", []string{"--top-p", "0.9"} }),
			completions + "--dataset-name custom --dataset-path in.jsonl --custom-output-len -1 --disable-shuffle --skip-chat-template --no-oversample " +
				"--num-prompts 40 --max-concurrency 4 --request-rate inf " + seed + "--ignore-eos " + tail + " --top-p 0.9"},
	} {
		if got := strings.Join(c.call.Args(), " "); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestCannot(t *testing.T) {
	for want, w := range map[string]perf.Workload{
		"":              {Arrival: perf.Poisson, ISL: 8, Turns: 1},
		"conversations": {Turns: 2},
		"constant":      {Arrival: perf.Constant},
		"all at once":   {RampUpS: 1},
		"token of its":  {SharedPrefix: 8, ISL: 8},
	} {
		if got := Cannot(w); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
}

func TestCheckExtra(t *testing.T) {
	if err := CheckExtra([]string{"--top-p", "0.9", "--metadata", "a=b", "--extra-body", `{"top_k": 5}`}); err != nil {
		t.Error(err)
	}
	for arg, want := range map[string]string{"--seed=3": "seed", "--max_concurrency": "concurrency", "--header": "secret", "--dataset-name": "port dataset",
		`{"ignore_eos": false}`: "parameter of the step", `--extra-body={"temperature":1}`: "parameter of the step", "--extra_body.temperature": "parameter of the step",
		"--headers": "secret", "--api_key": "secret", "--num-prompt": "num_prompts", "--config": "anything"} {
		if err := CheckExtra([]string{arg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", arg, err, want)
		}
	}
}

func TestBar(t *testing.T) {
	for line, want := range map[string][2]int{
		" 32%|███▎      | 13/40 [00:00<00:00, 35.15it/s]": {13, 40},
		"  0%|          | 0/4 [00:00<?, ?it/s]":           {0, 4},
		"Successful requests: 40":                         {},
		"1/2":                                             {},
	} {
		done, total, ok := Bar(line)
		if got := [2]int{done, total}; got != want || ok != (want != [2]int{}) {
			t.Errorf("%q: %v, %v; want %v", line, got, ok, want)
		}
	}
}

func TestComplaint(t *testing.T) {
	for tail, want := range map[string]string{
		"Traceback (most recent call last):\n  File \"x\"\nOSError: no such model\n\nnote\n":    "OSError: no such model",
		"usage: vllm bench serve\nvllm bench serve: error: unrecognized arguments: --no-flag\n": "vllm bench serve: error: unrecognized arguments: --no-flag",
		"killed\n": "killed",
		"":         "",
	} {
		if got := Complaint(tail); got != want {
			t.Errorf("%q: %q, want %q", tail, got, want)
		}
	}
}
