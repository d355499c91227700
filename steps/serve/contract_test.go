package serve

import (
	"testing"

	"pipeline/steps/stepstest"
)

func TestContract(t *testing.T) { stepstest.Check(t, Kind(Launcher{})) }
