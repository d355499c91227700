package cellrun

import (
	"errors"
	"testing"

	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/steps"
)

func TestAIPerf(t *testing.T) {
	path := realparts.AIPerf(t)
	b := newBench(t, newSim(t, simConfig()))
	b.step.Driver, b.step.AIPerf.Path = aiperfName, path
	b.setup(t, endpoint.Access{}, nil)
	m, err := b.run(t)
	var failed *steps.Failed
	if err != nil && !(errors.As(err, &failed) && failed.Partial) {
		t.Fatal(err)
	}
	t.Logf("%s %q\ndoubts %q\n%+v\n%+v\n%+v", m.Status, m.Reasons, m.Doubts, m.Summary, m.Server, m.Client)
	for _, p := range b.said {
		t.Logf("%+v", p)
	}
}
