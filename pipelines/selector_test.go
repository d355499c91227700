package pipelines_test

import (
	"strings"
	"testing"

	"pipeline/pipelines"
)

func TestSelector(t *testing.T) {
	p, err := planOf(golden(t, "campaign")["spec.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"atlas", "atlas"},
		{" server ", "server[config=fp8-tp8] server[config=fp8-tp4]"},
		{"cells[trial=1,config=fp8-tp4]", "cells[config=fp8-tp4,concurrency=1,trial=1]"},
		{"cells[concurrency=2..64,trial=2]", "cells[config=fp8-tp8,concurrency=64,trial=2]"},
		{"cells[concurrency=64|1,trial=1.0,config=*-tp8]", "cells[config=fp8-tp8,concurrency=1,trial=1] cells[config=fp8-tp8,concurrency=64,trial=1]"},
		{"server[config=*tp*4*]", "server[config=fp8-tp4]"},
		{"server[ config = fp8-tp8 | fp8-tp4 ]", "server[config=fp8-tp8] server[config=fp8-tp4]"},
		{"sever", `error selector "sever": there is no step sever; did you mean server?`},
		{"cells[confg=a]", `error selector "cells[confg=a]": cells has no axis confg; did you mean config?`},
		{"atlas[x=1]", `error selector "atlas[x=1]": atlas has no axis x; it has none`},
		{"cells[config=fp8-tp9]", `error selector "cells[config=fp8-tp9]": cells has no cell with config=fp8-tp9; did you mean fp8-tp8?`},
		{"cells[concurrency=2..8]", `error selector "cells[concurrency=2..8]": cells has no cell with concurrency=2..8; there are 1, 64`},
		{"cells[config=fp8-tp4,concurrency=64]", `error selector "cells[config=fp8-tp4,concurrency=64]": no cell of cells has all of these values`},
		{"", `error selector "": "" is no id of a step; write step or step[axis=value,…]`},
		{"cells[", `error selector "cells[": it does not end with ]; write step or step[axis=value,…]`},
		{"cells[]", `error selector "cells[]": "" is not of the form axis=value; write step or step[axis=value,…]`},
		{"cells[trial=]", `error selector "cells[trial=]": trial: a value is missing; write step or step[axis=value,…]`},
		{"cells[trial=2..1]", `error selector "cells[trial=2..1]": trial: the range 2..1 is empty: its first number is the larger; write step or step[axis=value,…]`},
		{"cells[trial=1,trial=2]", `error selector "cells[trial=1,trial=2]": the axis trial stands twice; separate values with |; write step or step[axis=value,…]`},
		{"cells[Trial=1]", `error selector "cells[Trial=1]": "Trial" is no name of an axis; write step or step[axis=value,…]`},
	} {
		if got := selected(p, c.text); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// selected prints the nodes that a selector picks, by Select and by Match.
func selected(p *pipelines.Plan, text string) string {
	s, err := pipelines.ParseSelector(text)
	if err != nil {
		return "error " + err.Error()
	}
	ids, err := s.Select(p)
	if err != nil {
		return "error " + err.Error()
	}
	var names, matched []string
	for _, id := range ids {
		names = append(names, p.Nodes[id].Name)
	}
	for i := range p.Nodes {
		if s.Match(p, pipelines.NodeID(i)) {
			matched = append(matched, p.Nodes[i].Name)
		}
	}
	if strings.Join(names, " ") != strings.Join(matched, " ") {
		return "Select and Match differ"
	}
	return strings.Join(names, " ")
}
