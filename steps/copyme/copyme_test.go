package copyme_test

import (
	"os"
	"testing"

	"pipeline/steps/copyme"
	"pipeline/steps/stepstest"
)

func Test(t *testing.T) { stepstest.Run(t, copyme.Kind, os.DirFS("testdata")) }
