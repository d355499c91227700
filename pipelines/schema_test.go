package pipelines_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"pipeline/pipelines"
	"pipeline/steps"
)

// TestSchema: the schema is the same text each time, and names every field,
// kind, parameter and port there is. (That a validator takes the specs of the
// golden files by it, and refuses others, was checked with another program;
// see the comment in schema.go for what it leaves to Plan.)
func TestSchema(t *testing.T) {
	reg := testKinds()
	text, err := pipelines.Schema(reg)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if again, _ := pipelines.Schema(reg); !bytes.Equal(text, again) {
			t.Fatal("the schema differs from one call to the next")
		}
	}
	var root struct {
		Defs map[string]struct {
			Properties map[string]any
			AllOf      []struct {
				If struct {
					Properties struct{ Uses struct{ Const string } }
				}
				Then struct {
					Properties struct {
						With, In struct {
							Properties           map[string]map[string]any
							AdditionalProperties any
						}
					}
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"id", "uses", "in", "after", "matrix", "when", "with", "timeout", "retry", "max_age", "pools", "phase"} {
		if root.Defs["step"].Properties[f] == nil {
			t.Errorf("no field %s", f)
		}
	}
	kinds := root.Defs["step"].AllOf
	if len(kinds) != len(reg) {
		t.Errorf("%d kinds", len(kinds))
	}
	for _, k := range kinds {
		kind := reg[k.If.Properties.Uses.Const]
		params, err := steps.ParamsOf(kind.New())
		if err != nil {
			t.Fatal(err)
		}
		with := k.Then.Properties.With
		if with.AdditionalProperties != false || len(with.Properties) != len(params) {
			t.Errorf("%s: %d parameters", kind.Name, len(with.Properties))
		}
		for _, p := range params {
			if with.Properties[p.Name]["description"] != p.Doc {
				t.Errorf("%s.%s is not described", kind.Name, p.Name)
			}
		}
		for _, p := range kind.Ports {
			if k.Then.Properties.In.Properties[p.Name] == nil {
				t.Errorf("%s has no port %s", kind.Name, p.Name)
			}
		}
	}
}
