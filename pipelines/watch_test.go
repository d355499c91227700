package pipelines_test

import (
	"strings"
	"testing"
)

// TestWatchdog plans an expression that no budget counts: few steps, each of
// which searches a long text. The watchdog gives up on it, at its place.
func TestWatchdog(t *testing.T) {
	spec := "campaign: w\nparams:\n  text: " + strings.Repeat("a", 400_000) + `
steps:
  - id: a
    uses: exec
    with:
      command:
        - ${{ string(count(1..900, params.text matches "(a|aa)*(aaa|a)*b$")) }}
`
	_, err := planOf(spec)
	want := "spec.yaml:9:15: steps.a.with.command[0]: the expression takes too long; simplify it"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %.300v, want %s", err, want)
	}
}
