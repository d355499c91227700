package redact

import (
	"bytes"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	token := func(n int) string { return strings.Repeat("aB3", n) }
	for in, want := range map[string]string{
		"HF_TOKEN=hf_" + token(8):                                           "HF_TOKEN=[redacted]",
		"--api-key sk-" + token(8) + " --x":                                 "--api-key [redacted] --x",
		"nvapi-" + token(8):                                                 "[redacted]",
		"ghp_" + token(8) + ",github_pat_" + token(9):                       "[redacted],[redacted]",
		"Authorization: Bearer " + token(6):                                 "Authorization: Bearer [redacted]",
		"https://user:pass@host/x and http://host:8000/v1":                  "https://[redacted]@host/x and http://host:8000/v1",
		"https://hf_" + token(8) + "@huggingface.co":                        "https://[redacted]@huggingface.co",
		"eyJ" + token(4) + "." + token(4) + "." + token(4):                  "[redacted]",
		"AKIAABCDEFGHIJKLMNOP":                                              "[redacted]",
		"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nrest":   "-----BEGIN PRIVATE KEY-----[redacted]\nrest",
		"the word is xyzzy, a risk-free sk-8 task":                          "the word is [redacted], a risk-free sk-8 task",
		"authorization: Basic dXNlcg==, \"Authorization\": \"Bearer abcd\"": "authorization: Basic [redacted], \"Authorization\": \"Bearer [redacted]\"",
		"mean TTFT 12 ms, basic benchmarks, bearer of news":                 "mean TTFT 12 ms, basic benchmarks, bearer of news",
		"mean TTFT 12 ms, basic blocks":                                     "mean TTFT 12 ms, basic blocks",
		"user@example.com, file:line, a://b":                                "user@example.com, file:line, a://b",
	} {
		if got := Text(in, "xyzzy", "", "ab"); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestArgs(t *testing.T) {
	in := "run a.yaml --set token=abc --set=api_key=x --set model=m --api-key secretvalue --num-tokens 5 --tokenizer dir --max-tokens=9 --api-key-env NAME --auth hf_0123456789abcdef0123 http://a:b@h --password --x"
	want := "run a.yaml --set token=[redacted] --set=api_key=[redacted] --set model=m --api-key [redacted] --num-tokens 5 --tokenizer dir --max-tokens=9 --api-key-env NAME --auth [redacted] http://[redacted]@h --password --x"
	if got := strings.Join(Args(strings.Fields(in)), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, func(s string) string { return Values(s, "secret") })
	for _, part := range []string{"a se", "cret\nb sec", "ret", " c"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != "a [redacted]\n" {
		t.Errorf("before the end: %q", b.String())
	}
	if err := w.Flush(); err != nil || b.String() != "a [redacted]\nb [redacted] c" {
		t.Errorf("%q %v", b.String(), err)
	}
	b.Reset()
	if _, err := w.Write(bytes.Repeat([]byte("x"), 3*maxLine)); err != nil || b.Len() != 3*maxLine {
		t.Errorf("%d bytes of a long line, %v", b.Len(), err)
	}
}

func FuzzText(f *testing.F) {
	f.Add("Bearer hf_aaaaaaaaaaaaaaaaaaaa", "aaaa")
	f.Fuzz(func(t *testing.T, text, value string) {
		got := Text(text, value)
		if len(value) >= minValue && !strings.ContainsAny(value, Mark+"@ -") && strings.Contains(got, value) {
			t.Fatalf("%q still has %q", got, value)
		}
	})
}
