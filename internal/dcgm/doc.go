// Package dcgm turns samples of NVIDIA's DCGM into evidence about one cell, or
// says why it cannot.
//
// The story goes one way:
//
//	samples    from Prometheus, from an exporter that was scraped under the
//	           load, from a dump of dcgmi dmon, or from AIPerf's telemetry
//	           (samples.go, dmon.go, telemetry.go). A field is known by its
//	           id: names changed over versions of DCGM, and no unit is taken
//	           from a name or a help text (field.go)
//	frozen     the samples as they came, with the queries, the window and the
//	           GPUs, under a digest (frozen.go). All that follows is made from
//	           this file alone, so that it can be made again, and disputed,
//	           when Prometheus has forgotten
//	evidence   sentinels dropped and counted, repeated scrapes of one
//	           collection taken as one, and only what was collected wholly
//	           inside the steady window kept (evidence.go)
//	checks     DC01 to DC15, each a function of the evidence (checks.go)
//	report     means by GPU, the checks, and either rigor L3 or the gap and
//	           how to close it (report.go)
//
// How a sample relates to time: DCGM's profiling figures are means over the
// collect interval c, never instants. An exporter hands out what it collected
// up to c ago, so that a scrape at t tells of [t-2c, t]; dcgmi dmon prints at
// the end of its delay d, and tells of [t-d, t].
//
// Nothing here asks a network or a clock.
package dcgm
