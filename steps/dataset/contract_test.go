package dataset_test

import (
	"os"
	"testing"

	"pipeline/steps/dataset"
	"pipeline/steps/stepstest"
)

func Test(t *testing.T) { stepstest.Run(t, dataset.Kind(), os.DirFS("testdata")) }
