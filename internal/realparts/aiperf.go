package realparts

import (
	"path/filepath"
	"testing"

	"pipeline/internal/tool"
)

// AIPerf returns the path of AIPerf's program. It is installed on first use as
// `pipeline tools install aiperf` does it, into the user's cache directory.
func AIPerf(t testing.TB) string {
	t.Helper()
	skipShort(t, "AIPerf")
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := tool.AIPerf().Install(t.Context(), filepath.Join(cache, "home"), func(step string) { t.Log(step) })
	if err != nil {
		t.Fatal(err)
	}
	return found.Path
}
