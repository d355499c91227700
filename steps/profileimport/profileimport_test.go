package profileimport

import (
	"flag"
	"os"
	"testing"

	"pipeline/steps/stepstest"
)

var _ = flag.Bool("update", false, "print what the cases write")

func Test(t *testing.T) { stepstest.Run(t, Kind(), os.DirFS("testdata")) }
