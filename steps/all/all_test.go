package all

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"pipeline/internal/digest"
	"pipeline/steps"
)

var update = flag.Bool("update", false, "write the golden files")

// NewRegistry panics on a kind that breaks the contract, so that this test
// fails if one does.
func TestKinds(t *testing.T) {
	registry := Kinds(Deps{Executable: "pipeline"})
	for _, name := range []string{"serve", "init", "cell_run", "aggregate", "render", "publish"} {
		if registry[name] == nil {
			t.Errorf("no kind %q", name)
		}
	}
}

// A parameter that comes, goes or gets another default gives every measured
// cell another key: measurements that cost machine time would be made again.
// If that is meant, raise the kind's version where the measuring changed, and
// run this test with -update.
func TestKeysOfWhatCostsMachineTime(t *testing.T) {
	registry := Kinds(Deps{Executable: "pipeline"})
	var got bytes.Buffer
	for _, name := range []string{"serve", "init", "cell_run"} {
		k := registry[name]
		params, err := steps.ParamsOf(k.New())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s %d\n", name, k.Version)
		writeKeys(t, &got, "", params)
	}
	const golden = "testdata/keys.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("keys have changed, got:\n%s\nwant:\n%s", got.Bytes(), want)
	}
}

func writeKeys(t *testing.T, w *bytes.Buffer, prefix string, params []steps.Param) {
	for _, p := range params {
		switch {
		case !p.Key:
		case len(p.Params) > 0:
			writeKeys(t, w, prefix+p.Name+".", p.Params)
		default:
			text, err := digest.Canonical(p.Default)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(w, "  %s%s %s\n", prefix, p.Name, text)
		}
	}
}
