package configs

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestModels(t *testing.T) {
	sources, err := os.ReadFile("SOURCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Models() {
		model, err := FindModel(name)
		if err != nil || model.Name != name || !bytes.Contains(model.Config, []byte(`"hidden_size"`)) {
			t.Errorf("%s: %v, %d bytes", name, err, len(model.Config))
		}
		if !bytes.Contains(sources, []byte("| `"+name+"` |")) {
			t.Errorf("SOURCES.md says nothing of %s", name)
		}
	}
	if model, err := FindModel("glm-5.1-nvfp4"); err != nil || model.QuantConfig == nil {
		t.Errorf("glm-5.1-nvfp4 has no quant map: %v", err)
	}
	if model, err := FindModel("llama-3.1-8b"); err != nil || model.QuantConfig != nil {
		t.Errorf("llama-3.1-8b has a quant map: %v", err)
	}
}

func TestFindModelRefusals(t *testing.T) {
	for _, name := range []string{"", "gpt-9", "../models/glm-5.1", "/etc", "glm-5.1/"} {
		if _, err := FindModel(name); err == nil || !strings.Contains(err.Error(), "known: deepseek-v3, ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
