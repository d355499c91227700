// Package realparts gives tests the software that we did not write: it
// installs it, starts it on loopback and stops it. Only tests use it.
//
// A simulated endpoint proves little about a client written by the same hand.
// So the same campaigns also run against GuideLLM's mock server (GuideLLMMock)
// and against llama.cpp's server with a tiny model of random weights
// (TinyLlama). Their habits differ from vLLM's and from each other's; the
// tests of this package hold them down byte by byte.
//
// Two pieces carry everything, and are there for more parts to come. Venv
// turns a list of Python requirements under tools/python into a virtual
// environment in the user's cache directory, once for each content of the
// list, however many test processes ask at the same time. Start runs a Process
// on a free loopback port, waits until it answers, and ends its whole process
// group with the test.
//
// What can't be installed or started fails the test and says which command to
// run. Only `go test -short` skips, and says so.
package realparts
