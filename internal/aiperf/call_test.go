package aiperf

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipeline/lake/perf"
)

func TestCallArgs(t *testing.T) {
	zero := 0.0
	closed := perf.Workload{API: "chat", Arrival: perf.Closed, Concurrency: 4, NumPrompts: 40, Warmup: 2, ISL: 128, OSL: 32, IgnoreEOS: true, RequestTimeoutS: 600}
	with := func(change func(*Call)) Call {
		c := Call{URL: "http://h:1", Model: "org/m", Folder: "out", Workload: closed, Seed: 7}
		change(&c)
		return c
	}
	const head = "profile --model org/m --url http://h:1 --endpoint-type chat --streaming --use-server-token-count "
	const tail = "--random-seed 7 --request-timeout-seconds 600 --export-level records --artifact-dir out --ui none --server-metrics-formats json --no-gpu-telemetry"
	const fixed = "--extra-inputs ignore_eos:true --extra-inputs min_tokens:32 --isl 128 --isl-stddev 0 --osl 32 --osl-stddev 0 "
	for _, c := range []struct {
		name string
		call Call
		want string
	}{
		{"closed loop: a prompt for each request", with(func(*Call) {}),
			head + "--concurrency 4 --request-count 40 --warmup-request-count 2 " + fixed + "--num-dataset-entries 42 --dataset-sampling-strategy sequential " + tail},
		{"a ramp, prompts that repeat, a tokenizer", with(func(c *Call) { c.Workload.RampUpS, c.Prompts, c.Tokenizer = 1.5, 10, "builtin" }),
			head + "--tokenizer builtin --concurrency 4 --concurrency-ramp-duration 1.5 --request-count 40 --warmup-request-count 2 " + fixed + "--num-dataset-entries 10 --dataset-sampling-strategy sequential " + tail},
		{"open loop with a limit", with(func(c *Call) {
			c.Workload.Arrival, c.Workload.RequestRate, c.Workload.Warmup, c.Workload.Temperature = perf.Poisson, 0.5, 0, &zero
		}), head + "--request-rate 0.5 --arrival-pattern poisson --concurrency 4 --request-count 40 --extra-inputs ignore_eos:true --extra-inputs min_tokens:32 --extra-inputs temperature:0 " +
			"--isl 128 --isl-stddev 0 --osl 32 --osl-stddev 0 --num-dataset-entries 40 --dataset-sampling-strategy sequential " + tail},
		{"a shared prefix, limits", with(func(c *Call) {
			c.Workload.SharedPrefix, c.Workload.TTFTSLOms, c.Workload.TPOTSLOms, c.Workload.E2ESLOms, c.Workload.IgnoreEOS = 100, 250, 12.5, 3000, false
		}), head + "--concurrency 4 --request-count 40 --warmup-request-count 2 --num-prefix-prompts 1 --prefix-prompt-length 100 " +
			"--isl 28 --isl-stddev 0 --osl 32 --osl-stddev 0 --num-dataset-entries 42 --dataset-sampling-strategy sequential --random-seed 7 --request-timeout-seconds 600 " +
			"--goodput time_to_first_token:250 inter_token_latency:12.5 request_latency:3000 " + strings.TrimPrefix(tail, "--random-seed 7 --request-timeout-seconds 600 ")},
		{"conversations: more than are played to the end", with(func(c *Call) { c.Workload.Turns = 4 }),
			head + "--concurrency 4 --request-count 40 --warmup-request-count 2 " + fixed +
				"--conversation-num 16 --conversation-turn-mean 4 --conversation-turn-stddev 0 --num-dataset-entries 64 --dataset-sampling-strategy sequential " + tail},
		{"a file", with(func(c *Call) { c.Input, c.InputType = "in.jsonl", "multi_turn" }),
			head + "--concurrency 4 --request-count 40 --warmup-request-count 2 --extra-inputs ignore_eos:true --input-file in.jsonl --custom-dataset-type multi_turn --dataset-sampling-strategy sequential " + tail},
		{"a file and a key", with(func(c *Call) { c.Input, c.InputType, c.KeyVar, c.Config = "in.jsonl", "multi_turn", "KEY", "c.yaml" }),
			"profile --config c.yaml" + strings.TrimPrefix(head, "profile") +
				"--concurrency 4 --request-count 40 --warmup-request-count 2 --extra-inputs ignore_eos:true --dataset-sampling-strategy sequential " + tail},
		{"what the user adds", with(func(c *Call) {
			c.Extra = []string{"--gpu-telemetry", "http://gpu:9400/metrics", "--server-metrics-formats=parquet"}
		}),
			head + "--concurrency 4 --request-count 40 --warmup-request-count 2 " + fixed + "--num-dataset-entries 42 --dataset-sampling-strategy sequential " +
				strings.TrimSuffix(tail, " --server-metrics-formats json --no-gpu-telemetry") + " --gpu-telemetry http://gpu:9400/metrics --server-metrics-formats=parquet"},
	} {
		if got := strings.Join(c.call.Args(), " "); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// The key reaches AIPerf by its config file, which names the variable.
func TestConfigFile(t *testing.T) {
	c := Call{KeyVar: "KEY", Input: "in.jsonl", InputType: "single_turn", Workload: perf.Workload{Arrival: perf.Constant, RequestRate: 2, NumPrompts: 5}}
	text, err := c.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Benchmark struct {
			Endpoint struct {
				Key string `json:"api_key"`
			}
			Datasets, Phases []map[string]any
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	b := file.Benchmark
	if b.Endpoint.Key != "${KEY}" || b.Datasets[0]["path"] != "in.jsonl" || b.Phases[0]["type"] != "constant" || b.Phases[0]["rate"] != 2.0 {
		t.Errorf("%s", text)
	}
}

func TestCheckExtra(t *testing.T) {
	for _, good := range [][]string{nil, {"--slice-duration", "10"}, {"--extra-inputs", "top_p:0.9"}, {"--gpu-telemetry=http://x"}, {"--no-server-metrics"}, {"--export-http-trace"}, {"--tokenizer-revision", "main"}, {"-v"}, {"--per-chunk-usage"}} {
		if err := CheckExtra(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for arg, want := range map[string]string{
		"--concurrency=1,2,4": "concurrency", "--request-count": "num_prompts", "-H": "secret", "--api-key": "the endpoint", "--num-profile-runs=3": "use the matrix",
		"-f": "what is read", "ignore_eos:false": "parameter of the step", `{"temperature": 0.7}`: "parameter of the step", "--num-dataset-entries": "unique_prompts",
		"--api_key": "the endpoint", "-HAuthorization: Bearer x": "secret", "--headers": "secret", "--request_count": "num_prompts",
		"--fixed-schedule": "port dataset", "--user-centric-rate=4": "another one than the setting", "--prefill-concurrency": "concurrency", "--prefill-concurrency-ramp-duration": "concurrency",
		"--request-cancellation-rate": "another one than the setting", "--warmup-concurrency": "warmup", "--request-rate-ramp-duration=3": "request_rate", "--no-fixed-schedule": "port dataset",
		"--conversation-turn-delay-mean": "turns", "--burstiness": "arrival", "--search-style": "use the matrix",
	} {
		if err := CheckExtra([]string{"--slice-duration", "1", arg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", arg, err, want)
		}
	}
}

func TestComplaint(t *testing.T) {
	for _, c := range []struct{ name, tail, want string }{
		{"services", `23:33:28.802 ERROR    Failed to handle command profile_configure: no such host (base_component_service.py:522)
╭─ AIPerf System Exit Errors ──────────────────────────────────────────────────╮
│ • Service: dataset_manager                                                   │
│    Operation: Configure Profiling                                            │
│    Error: CommandError                                                       │
│    Reason: Failed to load tokenizer '/tmp/x': HFValidationError: Repo        │
│            id must be in the form 'repo_name'                                │
│                                                                              │
│ • Service: system_controller                                                 │
│    Reason: HookError("SystemController._start_services: Failed")             │
│    Cause: LifecycleOperationError("Failed")                                  │
╰──────────────────────────────────────────────────────────────────────────────╯
Log File: /tmp/x/logs/aiperf.log
`, `Failed to load tokenizer '/tmp/x': HFValidationError: Repo id must be in the form 'repo_name'; HookError("SystemController._start_services: Failed")`},
		{"a bad flag", `╭─ Error ──────────────────────────────────────────────────────────────────────╮
│ Unknown option: "--foo".                                                     │
╰──────────────────────────────────────────────────────────────────────────────╯`, `Unknown option: "--foo".`},
		{"another box", `ValueError: x
╭─────────────────────────── No Standard Tokenizer ────────────────────────────╮
│                                                                              │
│  Failed to load tokenizer '/tmp/x'                                           │
│                                                                              │
│  Possible Causes:                                                            │
╰──────────────────────────────────────────────────────────────────────────────╯`, "Failed to load tokenizer '/tmp/x' Possible Causes:"},
		{"a log over several lines", `23:07:31.989417 INFO     Using Request_Rate strategy
23:07:32.157372 ERROR    Failed to handle command profile_configure with hook
                         @on_command
                         InitializationError: m is not a local folder

                         HTTPError: 404 Client Error`, "Failed to handle command profile_configure with hook @on_command InitializationError: m is not a local folder"},
		{"nothing known", "Traceback\nKeyError: 'x'\n", "KeyError: 'x'"},
		{"nothing", "\n", ""},
	} {
		if got := Complaint(c.tail); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{\"a\":1}\n{\"b\":", "{\"a\":1}\n"},
		{"{\"a\":1}\n", "{\"a\":1}\n"},
		{"{\"a\":1}\n" + strings.Repeat("x", 200<<10), "{\"a\":1}\n"},
		{"{\"a\":", ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, recordsFile)
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := Cut(dir); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if string(got) != c.want || (c.want == "") != os.IsNotExist(err) {
			t.Errorf("%.20q: %.20q, %v", c.text, got, err)
		}
	}
}
