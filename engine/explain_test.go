package engine

import (
	"context"
	"strings"
	"testing"
)

func changesOf(x *Explanation) string {
	var lines []string
	for _, c := range x.Diff {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "; ")
}

func TestExplain(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1", "2")
	of := func(id int) func() *Explanation {
		return func() *Explanation {
			x, err := e.Explain(context.Background(), plan, plan.Nodes[id].ID)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	if x := of(1)(); x.Manifest != "" || x.Prospect.Verdict != Unknown {
		t.Errorf("before the first run: %+v", x)
	}
	mustRun(t, e, plan, Options{})

	// A hit: the manifest, and the nearest other record of its kind.
	x := of(1)()
	if x.Prospect.Verdict != WillHit || !strings.Contains(x.Manifest, "\nwith arg \"1\"\n") || x.Nearest == nil || x.Nearest.Node != "cells[n=2]" {
		t.Errorf("a hit: %+v", x)
	}
	want(t, "neighbour", changesOf(of(1)()), `arg: "2" -> "1"`)

	// A changed parameter: the node's own last record.
	plan.Nodes[1].Params.(*toy).Arg = "7"
	want(t, "parameter", changesOf(of(1)()), `arg: "1" -> "7"`)
	if p := of(1)().Prospect; p.Reason != ParamsChanged || p.Detail != `arg: "1" -> "7"` {
		t.Errorf("prospect: %+v", p)
	}
	plan.Nodes[1].Params.(*toy).Arg = "1"

	// Another endpoint: the field of what was observed is named.
	w.identity = "v2"
	mustRun(t, e, plan, Options{Selection: Selection{Until: selectName(plan, "setup"), Force: selectName(plan, "setup")}})
	want(t, "identity", changesOf(of(1)()), `setup/out version: "v1" -> "v2"`)
	if p := of(1)().Prospect; p.Verdict != WillRun || p.Reason != IdentityChanged {
		t.Errorf("prospect: %+v", p)
	}

	plan.Nodes[1].Kind.Version = 2
	want(t, "version", changesOf(of(1)()), `setup/out version: "v1" -> "v2"; kind: cell 1 -> cell 2`)
	if p := of(1)().Prospect; p.Reason != ProtocolChanged {
		t.Errorf("prospect: %+v", p)
	}
}

func TestLeafChanges(t *testing.T) {
	var got []string
	for _, c := range leafChanges("setup/identity", " ", []byte(`{"server_args":{"max_num_seqs":256,"gone":1},"l":[1,2],"same":null}`),
		[]byte(`{"server_args":{"max_num_seqs":512,"new":{"a":"b"}},"l":[1,3],"same":null}`), InputsChanged) {
		got = append(got, c.String())
	}
	want(t, "changes", strings.Join(got, "\n"), `setup/identity l[1]: 2 -> 3
setup/identity server_args.gone: - 1
setup/identity server_args.max_num_seqs: 256 -> 512
setup/identity server_args.new: + {"a":"b"}`)
}

func TestReasonsAreOneList(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if r.Name() == "" || r.Text() == "" || seen[string(r)] || seen[r.Name()] {
			t.Errorf("%s is unnamed or listed twice", r)
		}
		seen[string(r)], seen[r.Name()] = true, true
	}
}
