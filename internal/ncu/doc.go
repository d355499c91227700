// Package ncu reads what NVIDIA Nsight Compute prints with --csv: the long
// form of the details page (a line a metric) and the wide form of the raw page
// (a line a launch, units in the second line).
//
// Of each profiled launch it keeps the Speed-of-Light figures (how much of the
// peak of SMs, memory and DRAM the kernel reached), its duration and DRAM
// bytes, and the operations of the tensor pipes by input type: no other tool
// tells fp8 from fp4 there. A counter that ncu prints as n/a is not known,
// which is not zero.
//
// ncu replays each kernel alone, by default with clocks locked to their base:
// its durations are no timings of a service. What it says is how well a kernel
// uses the GPU while it runs.
package ncu
