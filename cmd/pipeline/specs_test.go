package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestSpecs plans every spec that people are told to start from.
func TestSpecs(t *testing.T) {
	specs, err := filepath.Glob("../../specs/*.yaml")
	if err != nil || len(specs) == 0 {
		t.Fatalf("no specs: %v", err)
	}
	templates, err := filepath.Glob("../../pipelines/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	specs = append(specs, templates...)
	for _, spec := range specs {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"validate", spec, "--home", t.TempDir()}, nil, &out, &errs); code != exitComplete || errs.Len() > 0 {
			t.Errorf("%s: exit code %d\n%s", spec, code, errs.String())
		}
	}
}
