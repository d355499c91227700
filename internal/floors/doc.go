// Package floors holds the test that reads the floors of ARCHITECTURE.md and
// checks that imports go down only. It has no code.
package floors
