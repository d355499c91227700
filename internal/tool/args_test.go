package tool

import (
	"strings"
	"testing"
)

func TestCheckArgs(t *testing.T) {
	owned := map[string]string{"--request-count": "num_prompts", "--warmup-*": "warmup", "-H": SecretArg, "--streaming": "api"}
	for _, good := range [][]string{
		nil, {"--slice-duration", "10"}, {"--extra-inputs", "top_p:0.9"}, {"--gpu-telemetry=http://gpu:9400/metrics"}, {"-v"}, {"--offset", "-1"},
		{"--tokenizer-revision", "main"}, {"--extra-body", `{"top_p": 0.9}`}, {"--metadata", "a=b"}, {"--extra-inputs", "max_thinking_tokens:5"},
	} {
		if err := CheckArgs(good, owned); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for arg, want := range map[string]string{
		"--request_count=5": "num_prompts", "--request-cou": "num_prompts", "--warmup-concurrency": "warmup", "--warmup_request_rate=3": "warmup", "--warmup": "warmup",
		"--no-streaming": "api", "-HAuthorization: Bearer x": "secret", "-H": "secret", "--headers": "secret", "--x_headers=a": "secret",
		"--api_key": "secret", "--hf-token=a": "secret", "--access_token": "secret", "--key": "secret", "--my-api-key=x": "secret",
		"--metrics=http://me:pass@host/x": "secret", "http://me:pass@host/x": "secret", "Authorization: Bearer x": "secret", "api_key:x": "secret", "token=x": "secret", `{"api_key": "x"}`: "secret",
		"ignore_eos:false": "parameter of the step", `{"temperature": 0.7}`: "parameter of the step", `--extra-body={"top_p":1,"ignore_eos":false}`: "parameter of the step",
		`{"\u0069gnore_eos":false}`: "parameter of the step", "--extra-body.temperature": "parameter of the step",
	} {
		err := CheckArgs([]string{"--slice-duration", "1", arg}, owned)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", arg, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
