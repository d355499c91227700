package campaigninit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipeline/internal/endpoint"
	"pipeline/steps"
)

// Hardware may be a key of a file of one's own: its token is what the identity
// has, and its digest is in the key of the step.
func TestOwnCeilings(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/models" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"data":[{"id":"meta-llama/Llama-3.1-8B","owned_by":"vllm","max_model_len":4096}]}`)
	}))
	t.Cleanup(silent.Close)
	file := filepath.Join(t.TempDir(), "ours.yaml")
	text := `schema: sol-ceilings/v1
as_of: "2026-11-23"
keys:
  x1_sm130: {tokens: [X1], vendor: us, hbm3e_tbps: 9, mem_bw_key: hbm3e_tbps, mem_gb: 200, dense_tflops: {bf16: 3000}, sources: [our node]}
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	step := newStep()
	step.Hardware = "x1_sm130"
	if err := step.Check(); err == nil || !strings.Contains(err.Error(), `hardware: CEIL_UNKNOWN: hardware "x1_sm130" has no key`) {
		t.Errorf("without the file: %v", err)
	}
	step.Ceilings = steps.File(file)
	if err := step.Check(); err != nil {
		t.Errorf("with the file, which is not read yet: %v", err)
	}
	out := run(step, steps.Live{"url": silent.URL})
	id, err := endpoint.ParseIdentity(out.files[identityFile].Bytes())
	if err != nil || id.Value(endpoint.Hardware) != "X1" || id.Value(endpoint.CeilingKey) != "x1_sm130" {
		t.Errorf("%v: %v: hardware %s, key %s", out.err, err, id.Value(endpoint.Hardware), id.Value(endpoint.CeilingKey))
	}
	step = newStep()
	step.Hardware, step.Ceilings = "y2_sm140", steps.File(file)
	if out := run(step, steps.Live{"url": silent.URL}); out.err == nil || !strings.Contains(out.err.Error(), `CEIL_UNKNOWN: hardware "y2_sm140"`) {
		t.Errorf("a key of neither: %v", out.err)
	}
	step = newStep()
	step.Declare = map[string]string{"args.hbm_tbps": "8.2"}
	if err := step.Check(); err == nil || !strings.Contains(err.Error(), "CEIL_INLINE: declare sets args.hbm_tbps=8.2 inline") {
		t.Errorf("an inlined peak: %v", err)
	}
}
