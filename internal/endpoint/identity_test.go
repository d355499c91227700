package endpoint

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func observed(values map[string]string) Identity {
	id := newIdentity()
	for f, v := range values {
		id.set(f, v, "GET /x")
	}
	id.settle()
	return id
}

func TestDeclare(t *testing.T) {
	for _, c := range []struct {
		name       string
		observed   map[string]string
		declared   map[string]string
		field      string
		want       string
		source     string
		mismatches []string
	}{
		{"not observed", nil, map[string]string{TP: "8"}, TP, "8", Declared, nil},
		{"the same", map[string]string{TP: "8"}, map[string]string{TP: "8"}, TP, "8", "GET /x", nil},
		{"another", map[string]string{TP: "4"}, map[string]string{TP: "8"}, TP, "4", "GET /x", []string{"tp is declared as 8, but GET /x says 4"}},
		{"auto gives way", map[string]string{KVCacheDtype: "auto"}, map[string]string{KVCacheDtype: "bfloat16"}, KVCacheDtype, "bf16", "declared; GET /x says auto", nil},
		{"a name by its root", map[string]string{Model: "glm", ModelRoot: "zai-org/GLM"}, map[string]string{Model: "zai-org/GLM"}, Model, "glm", "GET /x", nil},
		{"Python's words", map[string]string{PrefixCaching: "True", GPUMemUtilization: "0.90"}, map[string]string{PrefixCaching: "true", GPUMemUtilization: "0.9"}, PrefixCaching, "true", "GET /x", nil},
		{"nothing is declared", nil, map[string]string{TP: ""}, TP, "unknown", "", nil},
		{"versions are no numbers", map[string]string{EngineVersion: "0.10"}, map[string]string{EngineVersion: "0.1"}, EngineVersion, "0.10", "GET /x",
			[]string{"engine_version is declared as 0.1, but GET /x says 0.10"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := observed(c.observed)
			var got []string
			for _, m := range id.Declare(c.declared) {
				got = append(got, m.String())
			}
			if !slices.Equal(got, c.mismatches) {
				t.Errorf("mismatches %q, want %q", got, c.mismatches)
			}
			if id.Value(c.field) != c.want || id.Sources[c.field] != c.source {
				t.Errorf("%s = %s by %q, want %s by %q", c.field, id.Value(c.field), id.Sources[c.field], c.want, c.source)
			}
			if slices.Contains(id.Unknown, c.field) != (c.want == "unknown") {
				t.Errorf("unknown %v", id.Unknown)
			}
		})
	}
}

func TestCarryComparesWhatWasDeclared(t *testing.T) {
	setup := observed(map[string]string{Model: "m", KVCacheDtype: "auto"})
	setup.Declare(map[string]string{TP: "8", KVCacheDtype: "fp8"})
	if got := Diff(setup, observed(map[string]string{Model: "m", KVCacheDtype: "auto"}).Carry(setup)); len(got) != 0 {
		t.Errorf("the same endpoint differs in %v", got)
	}
	got := Diff(setup, observed(map[string]string{Model: "other", TP: "4"}).Carry(setup))
	want := []Change{{Model, "m", "other"}, {TP, "8", "4"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if s := want[1].String(); s != "tp was 8 and is 4" {
		t.Errorf("printed as %q", s)
	}
}

func TestCanonicalAndParse(t *testing.T) {
	id := observed(map[string]string{Model: "m", TP: "2"})
	id.Unknown = []string{EP}
	b := canonical(t, id)
	const want = `{"schema":"identity/v1","sources":{"model":"GET /x","tp":"GET /x"},"unknown":["ep"],"values":{"model":"m","tp":"2"}}` + "\n"
	if string(b) != want {
		t.Errorf("got  %swant %s", b, want)
	}
	again, err := ParseIdentity(b)
	if err != nil || len(Diff(id, again)) != 0 {
		t.Errorf("read back: %v, %v", again, err)
	}
	for _, bad := range []string{"", "{}", `{"schema":"identity/v2"}`} {
		if _, err := ParseIdentity([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestDeclarationValues(t *testing.T) {
	yes := true
	d := Declaration{
		Model: ModelSpec{Name: "zai-org/GLM-5.1-FP8", Shape: "glm-5.1-fp8"}, Hardware: "b200_sm100", TensorParallel: 4,
		Args:    Args{DataParallelSize: 2, EnableExpertParallel: &yes, MaxNumSeqs: 256, GPUMemoryUtilization: 0.9},
		Further: map[string]string{ImageDigest: "sha256:1", "args.moe_backend": "deep_gemm"},
	}
	if param, err := d.Check(); err != nil {
		t.Fatalf("%s: %v", param, err)
	}
	got := d.Values()
	want := map[string]string{
		Model: "zai-org/GLM-5.1-FP8", ModelShape: "glm-5.1-fp8", Hardware: "B200", CeilingKey: "b200_sm100", TP: "4", DP: "2", EP: "8",
		GPUCount: "8", MaxNumSeqs: "256", GPUMemUtilization: "0.9", ImageDigest: "sha256:1", "args.moe_backend": "deep_gemm",
	}
	for f, v := range want {
		if got[f] != v {
			t.Errorf("%s = %q, want %q", f, got[f], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDeclarationCheck(t *testing.T) {
	for param, d := range map[string]Declaration{
		"hardware":          {Hardware: "b2000"},
		"model.shape":       {Model: ModelSpec{Shape: "glm-9"}},
		"declare.tpp":       {Further: map[string]string{"tpp": "8"}},
		"declare.simulated": {Further: map[string]string{Simulated: "false"}},
	} {
		if got, err := d.Check(); err == nil || got != param {
			t.Errorf("%s: got %q, %v", param, got, err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:8000": "http://h:8000", "http://h:8000/": "http://h:8000", "https://h/v1/": "https://h",
		"http://h/proxy/m/v1": "http://h/proxy/m", "http://[::1]:80": "http://[::1]:80",
	} {
		if u, err := ParseURL(in); err != nil || u.String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, u, err, want)
		}
	}
	for _, bad := range []string{"", "h:8000", "ftp://h", "http://", "http://user:s3cret@h", "http://h?key=s3cret", "http://h/%zz?s3cret"} {
		if u, err := ParseURL(bad); err == nil {
			t.Errorf("%q was read as %s", bad, u)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestAccessByLive(t *testing.T) {
	a := Access{URL: "http://h:1", CAFile: "/ca.pem", Insecure: true, Log: "/log"}
	secret := func(name string) (string, error) { return "value of " + name, nil }
	got, err := AccessOf(a.Live("KEY"), secret)
	a.APIKey = "value of KEY"
	if err != nil || got != a {
		t.Errorf("got %+v, %v, want %+v", got, err, a)
	}
	if _, err := AccessOf(nil, secret); err == nil {
		t.Error("an endpoint without an address was accepted")
	}
}

func TestLogOfAServer(t *testing.T) {
	log := filepath.Join(t.TempDir(), "server.log")
	a := Access{Log: log}
	if a.Cause() != "" || a.Tail() != "" || (Access{}).Tail() != "" {
		t.Error("a log that is not there says something")
	}
	text := "panic: first\n" + strings.Repeat("x", 2*tailBytes) + "\nthe end\n"
	if err := os.WriteFile(log, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if a.Cause() != "panic: first" || len(a.Tail()) != tailBytes || !strings.HasSuffix(a.Tail(), "\nthe end\n") {
		t.Errorf("cause %q, tail of %d bytes", a.Cause(), len(a.Tail()))
	}
}

func TestResetPrefixCache(t *testing.T) {
	status, body := http.StatusOK, ""
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/reset_prefix_cache" {
			status = http.StatusTeapot
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	for _, x := range []struct {
		status int
		body   string
		ok     bool
	}{{200, "", true}, {200, `{"success":true}`, true}, {200, `{"success":false}`, false}, {404, "Not Found", false}} {
		status, body = x.status, x.body
		if err := c.ResetPrefixCache(context.Background()); (err == nil) != x.ok {
			t.Errorf("HTTP %d %s: error %v", x.status, x.body, err)
		}
	}
}
