package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pipeline/internal/vllmsim"
)

func simConfig() vllmsim.Config {
	c := vllmsim.Defaults()
	c.Model, c.ModelShape, c.TensorParallelSize = "meta-llama/Llama-3.1-8B", "llama-3.1-8b", 1
	return c
}

// simulate starts a simulated server on a port of its own.
func simulate(t *testing.T, c vllmsim.Config) *Client {
	t.Helper()
	sim, err := vllmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() { sim.Close(); server.Close() })
	return client(t, Access{URL: server.URL, APIKey: c.APIKey})
}

func client(t *testing.T, a Access) *Client {
	t.Helper()
	c, err := NewClient(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func probe(t *testing.T, c *Client) Observation {
	t.Helper()
	obs, err := Probe(context.Background(), c, Options{Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return obs
}

func canonical(t *testing.T, id Identity) []byte {
	t.Helper()
	b, err := id.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProbeOfSimulation(t *testing.T) {
	obs := probe(t, simulate(t, simConfig()))
	for field, want := range map[string]string{
		Engine: "vllm-sim", Model: "meta-llama/Llama-3.1-8B", Simulated: "true", TP: "1", PP: "1", DP: "1", EP: "1", GPUCount: "1",
		Hardware: "B200", CeilingKey: "b200_sm100", ModelShape: "llama-3.1-8b", Quant: "bf16", KVCacheDtype: "auto",
		MaxNumSeqs: "1024", MaxBatchedTokens: "8192", GPUMemUtilization: "0.9", BlockSize: "16", PrefixCaching: "true", ChunkedPrefill: "true",
		EnforceEager: "false", "args.sim_time_scale": "1",
	} {
		if got := obs.Identity.Value(field); got != want {
			t.Errorf("%s = %s, want %s", field, got, want)
		}
	}
	if !strings.Contains(obs.Identity.Value(EngineVersion), "vllmsim") || obs.Identity.Sources[EngineVersion] != "GET /version" {
		t.Errorf("version %q by %q", obs.Identity.Value(EngineVersion), obs.Identity.Sources[EngineVersion])
	}
	if obs.Instance == "" || obs.Live["num_gpu_blocks"] == "" {
		t.Errorf("instance %q, live %v", obs.Instance, obs.Live)
	}
	if want := []string{"async_scheduling", "cuda", "cudagraph_mode", "driver", "gpu_type", "image_digest", "model_revision"}; !slices.Equal(obs.Identity.Unknown, want) {
		t.Errorf("unknown %v, want %v", obs.Identity.Unknown, want)
	}
}

// A gateway may drop the header.
func TestSimulationBehindAGateway(t *testing.T) {
	for name, server := range map[string]answers{
		"by its version": {modelsPath: `{"data":[{"id":"m","owned_by":"vllm"}]}`, versionPath: `{"version":"1","simulated":true}`},
		"by its metrics": {modelsPath: oneModel, metricsPath: "pipeline_sim_info{hardware=\"b200_sm100\"} 1\n"},
	} {
		id := probe(t, serve(t, server)).Identity
		if id.Value(Simulated) != "true" || id.Value(Engine) != "vllm-sim" {
			t.Errorf("%s: simulated %s, engine %s", name, id.Value(Simulated), id.Value(Engine))
		}
	}
}

func TestSameArgumentsElsewhereAreTheSameBytes(t *testing.T) {
	a, b := probe(t, simulate(t, simConfig())), probe(t, simulate(t, simConfig()))
	if x, y := canonical(t, a.Identity), canonical(t, b.Identity); !bytes.Equal(x, y) {
		t.Errorf("identities differ:\n%s\n%s", x, y)
	}
	if a.Instance == b.Instance {
		t.Errorf("two processes have one instance %s", a.Instance)
	}
}

func TestOtherArgumentsDifferInThatField(t *testing.T) {
	base := probe(t, simulate(t, simConfig())).Identity
	for _, c := range []struct {
		field  string
		change func(*vllmsim.Config)
		want   Change
	}{
		{MaxNumSeqs, func(c *vllmsim.Config) { c.MaxNumSeqs = 256 }, Change{MaxNumSeqs, "1024", "256"}},
		{GPUMemUtilization, func(c *vllmsim.Config) { c.GPUMemoryUtilization = 0.85 }, Change{GPUMemUtilization, "0.9", "0.85"}},
		{PrefixCaching, func(c *vllmsim.Config) { c.EnablePrefixCaching = false }, Change{PrefixCaching, "true", "false"}},
		{MaxModelLen, func(c *vllmsim.Config) { c.MaxModelLen = 4096 }, Change{MaxModelLen, "131072", "4096"}},
		{"args.sim_efficiency", func(c *vllmsim.Config) { c.Efficiency = 0.5 }, Change{"args.sim_efficiency", "0.7", "0.5"}},
	} {
		t.Run(c.field, func(t *testing.T) {
			conf := simConfig()
			c.change(&conf)
			if got := Diff(base, probe(t, simulate(t, conf)).Identity); !slices.Equal(got, []Change{c.want}) {
				t.Errorf("differ in %v, want %v", got, c.want)
			}
		})
	}
}

// answers serves fixed bodies by path; what is not there is 404.
type answers map[string]string

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := a[r.URL.RequestURI()]
	if !ok {
		http.Error(w, `{"detail":"Not Found"}`, http.StatusNotFound)
		return
	}
	fmt.Fprint(w, body)
}

func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return client(t, Access{URL: server.URL})
}

const oneModel = `{"object":"list","data":[{"id":"m","object":"model"}]}`

func TestQuirkyServersGiveUnknowns(t *testing.T) {
	for _, c := range []struct {
		name    string
		server  answers
		want    map[string]string
		unknown []string
	}{
		{"guidellm mock-server", answers{modelsPath: `{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"guidellm-mock"}]}`},
			map[string]string{Model: "m", Simulated: "false"}, []string{Engine, EngineVersion, MaxModelLen, TP}},
		{"llama.cpp", answers{modelsPath: `{"data":[{"id":"/models/tiny.gguf","object":"model","owned_by":"llamacpp","meta":{"n_ctx_train":2048}}]}`},
			map[string]string{Engine: "llama.cpp"}, []string{EngineVersion, BlockSize}},
		{"html instead of data", answers{modelsPath: oneModel, versionPath: "<html>", metricsPath: "<html>", serverInfoPath: "[]"},
			map[string]string{Model: "m"}, []string{EngineVersion, PrefixCaching, MaxNumSeqs}},
		{"two engines", answers{modelsPath: oneModel, metricsPath: "vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_running{engine=\"1\"} 1\n"},
			map[string]string{DP: "2"}, []string{TP}},
		{"vLLM without development mode", answers{
			modelsPath:  `{"data":[{"id":"glm","root":"zai-org/GLM-5.1-FP8","owned_by":"vllm","max_model_len":131072},{"id":"lora","parent":"glm"}]}`,
			versionPath: `{"version":"0.25.1"}`,
			metricsPath: `vllm:cache_config_info{block_size="16",cache_dtype="fp8",calculate_kv_scales="False",enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.90",num_gpu_blocks="573",num_gpu_blocks_override="None"} 1.0` + "\n",
		}, map[string]string{Engine: "vllm", EngineVersion: "0.25.1", MaxModelLen: "131072", ModelRoot: "zai-org/GLM-5.1-FP8", KVCacheDtype: "fp8",
			PrefixCaching: "true", GPUMemUtilization: "0.9", "args.calculate_kv_scales": "false"},
			[]string{MaxNumSeqs, TP, Hardware, "args.num_gpu_blocks", "args.num_gpu_blocks_override", DP}},
	} {
		t.Run(c.name, func(t *testing.T) {
			obs, err := Probe(context.Background(), serve(t, c.server), Options{Model: "zai-org/GLM-5.1-FP8"})
			if err != nil {
				t.Fatal(err)
			}
			for field, want := range c.want {
				if got := obs.Identity.Value(field); got != want {
					t.Errorf("%s = %s, want %s", field, got, want)
				}
			}
			for _, field := range c.unknown {
				if got := obs.Identity.Value(field); got != "unknown" {
					t.Errorf("%s = %s, want it unknown", field, got)
				}
			}
		})
	}
}

func TestServerInfoOfVLLM(t *testing.T) {
	info := `{"vllm_config":{
		"instance_id":"abc","model_config":{"model":"zai-org/GLM-5.1-FP8","revision":"9f2c","quantization":"compressed-tensors","dtype":"torch.bfloat16","max_model_len":131072,"enforce_eager":false},
		"cache_config":{"block_size":64,"gpu_memory_utilization":0.92,"cache_dtype":"fp8","enable_prefix_caching":true},
		"parallel_config":{"tensor_parallel_size":4,"pipeline_parallel_size":1,"data_parallel_size":2,"enable_expert_parallel":true,"data_parallel_master_port":29500},
		"scheduler_config":{"max_num_seqs":256,"max_num_batched_tokens":8192,"async_scheduling":true,"enable_chunked_prefill":true},
		"compilation_config":{"cudagraph_mode":"FULL_AND_PIECEWISE"},"speculative_config":null},
		"vllm_env":{"VLLM_HOST_IP":"10.0.0.7"},
		"system_env":{"nvidia_driver_version":"580.95.05","cuda_runtime_version":"13.0.88","nvidia_gpu_models":"GPU 0: NVIDIA B200\nGPU 1: NVIDIA B200 (UUID: GPU-1)"}}`
	obs := probe(t, serve(t, answers{modelsPath: oneModel, serverInfoPath: info}))
	for field, want := range map[string]string{
		ModelRevision: "9f2c", Quant: "compressed-tensors", KVCacheDtype: "fp8", TP: "4", DP: "2", EP: "8", MaxNumSeqs: "256",
		GPUMemUtilization: "0.92", CudagraphMode: "FULL_AND_PIECEWISE", AsyncScheduling: "true", Driver: "580.95.05", CUDA: "13.0.88",
		GPUType: "NVIDIA B200", GPUCount: "2", EnforceEager: "false", BlockSize: "64",
	} {
		if got := obs.Identity.Value(field); got != want {
			t.Errorf("%s = %s, want %s", field, got, want)
		}
	}
	all, err := json.Marshal(obs)
	if err != nil || strings.Contains(string(all), "10.0.0.7") || strings.Contains(string(all), "29500") {
		t.Errorf("an address of the server is in the observation (%v): %s", err, all)
	}
	if _, differ := (Declaration{Hardware: "b200_sm100"}).GPUMismatch(obs.Identity); differ {
		t.Error("NVIDIA B200 is not taken for b200_sm100")
	}
	if m, differ := (Declaration{Hardware: "h100_sm90"}).GPUMismatch(obs.Identity); !differ || !strings.Contains(m.String(), "NVIDIA B200") {
		t.Errorf("NVIDIA B200 is taken for h100_sm90: %v", m)
	}
}

func TestProbeWaitsUntilTheModelIsListed(t *testing.T) {
	var tries atomic.Int32
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := tries.Add(1); {
		case r.URL.Path != modelsPath:
			http.NotFound(w, r)
		case n == 1:
			http.Error(w, "starting", http.StatusServiceUnavailable)
		case n == 2:
			fmt.Fprint(w, `{"object":"list","data":[]}`)
		default:
			fmt.Fprint(w, oneModel)
		}
	}))
	obs, err := Probe(context.Background(), c, Options{ReadyTimeout: time.Minute, Poll: time.Millisecond})
	if err != nil || obs.Identity.Value(Model) != "m" {
		t.Errorf("%v, %v", obs.Identity, err)
	}
}

func TestProbeErrorsSayWhatWasTried(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + silent.Addr().String()
	silent.Close()

	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == modelsPath {
			fmt.Fprint(w, oneModel)
			return
		}
		panic(http.ErrAbortHandler)
	}))
	defer cut.Close()
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "Unauthorized: Bearer s3cret", http.StatusUnauthorized)
	}))
	defer locked.Close()
	two := httptest.NewServer(answers{modelsPath: `{"data":[{"id":"a"},{"id":"b"}]}`})
	defer two.Close()

	for _, c := range []struct {
		name   string
		access Access
		model  string
		is     error
		want   []string
	}{
		{"nobody there", Access{URL: address}, "", ErrNotReady, []string{"GET " + address + "/v1/models", "connection refused", "tried 1 times"}},
		{"a key is wanted", Access{URL: locked.URL, APIKey: "s3cret"}, "", ErrRefused, []string{"HTTP 401", "[redacted]", "api_key_env"}},
		{"it dies between", Access{URL: cut.URL}, "", nil, []string{"stopped answering"}},
		{"which model", Access{URL: two.URL + "/v1"}, "", nil, []string{"serves a, b", "model.name"}},
		{"not that model", Access{URL: two.URL}, "c", nil, []string{"serves a, b, and no c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Probe(context.Background(), client(t, c.access), Options{Model: c.model, Poll: time.Millisecond})
			if err == nil || (c.is != nil && !errors.Is(err, c.is)) {
				t.Fatalf("error %v, want %v", err, c.is)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q has no %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
}

func TestProbeAsksAgainOnlyWhatMayPass(t *testing.T) {
	asked := map[string]int{}
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch {
		case r.URL.Path == modelsPath:
			fmt.Fprint(w, oneModel)
		case r.URL.Path == metricsPath:
			http.Error(w, "start it with --metrics", http.StatusNotImplemented)
		case r.URL.Path == versionPath && asked[versionPath] < 2:
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case r.URL.Path == versionPath:
			fmt.Fprint(w, `{"version":"1"}`)
		default:
			http.NotFound(w, r)
		}
	}))
	obs := probe(t, c)
	if asked[metricsPath] != 1 || asked[versionPath] != 2 || obs.Identity.Value(EngineVersion) != "1" {
		t.Errorf("asked %v, version %s", asked, obs.Identity.Value(EngineVersion))
	}
}

func TestProbeStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		http.Error(w, "starting", http.StatusServiceUnavailable)
	}))
	if _, err := Probe(ctx, c, Options{ReadyTimeout: time.Hour, Poll: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

func TestProbeOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(answers{modelsPath: oneModel})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of clients that do not trust it
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		a    Access
		ok   bool
	}{
		{"unknown authority", Access{URL: server.URL}, false},
		{"trusted by file", Access{URL: server.URL, CAFile: ca}, true},
		{"trusted by order", Access{URL: server.URL, Insecure: true}, true},
	} {
		if err := Ready(context.Background(), client(t, c.a), Options{}); (err == nil) != c.ok {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
	if _, err := NewClient(Access{URL: server.URL, CAFile: "/nowhere.pem"}); err == nil {
		t.Error("a file of certificates that is not there is accepted")
	}
}

func TestProbeWithKey(t *testing.T) {
	conf := simConfig()
	conf.APIKey = "s3cret"
	obs := probe(t, simulate(t, conf))
	all, err := json.Marshal(obs)
	if err != nil || strings.Contains(string(all), "s3cret") {
		t.Errorf("the key is in the observation (%v): %s", err, all)
	}
}
