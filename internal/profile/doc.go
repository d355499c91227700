// Package profile holds what profilers tell of a workload, in words that do not
// depend on the tool: where the GPU's time went, by category of kernel, and how
// much of the GPU's peaks the kernels reached while they ran.
//
// A Profile is profile.json. GPUTime is the evidence of level L1: shares of
// samples, or of nanoseconds if the tool counts those. Counters are the
// evidence of level L4: hardware counters of single launches. Neither is a
// timing of the service: a profiler slows down what it watches.
package profile
