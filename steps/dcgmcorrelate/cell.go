package dcgmcorrelate

import (
	"strconv"
	"strings"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// read takes from a measurement the windows, the numbers that samples are held
// against, and which GPUs it ran on.
func (c *cell) read(s *Step, m *perf.Measurement) {
	c.cell = dcgm.Cell{ID: cellID(c), Simulated: m.Simulated}
	summary := &m.Summary
	switch {
	case m.Start.IsZero() || !m.End.After(m.Start):
		c.gap = "the measurement does not tell when it ran, so that no samples can be found for it"
		c.close = "give the times of the run to what imports it"
		return
	case m.Window != nil && m.Steady != nil:
		at := func(ns int64) time.Time { return m.Start.Add(time.Duration(ns)) }
		c.cell.Full = dcgm.NewWindow(m.Start, m.End)
		c.cell.Steady, c.cell.Trim = dcgm.NewWindow(at(m.Window.FromNS), at(m.Window.ToNS)), m.Window.Method
		summary = m.Steady
	default:
		c.cell.Full = dcgm.NewWindow(m.Start, m.End)
		c.cell.Steady, c.cell.Trim = dcgm.Trimmed(c.cell.Full)
		if c.cell.Steady.Seconds() <= 0 {
			c.gap = "there is no steady window, and the run is too short to cut 5 s off both ends"
			c.close = "measure more requests: 4 × concurrency or more give a steady window"
			return
		}
	}
	c.cell.OutputTPS = summary.OutputThroughput
	if summary == m.Steady && summary.OutputTokens > 0 {
		out, in := summary.OutputTokens, float64(summary.InputTokens)
		c.cell.OutputTokens = &out
		if summary.InputTokens > 0 {
			c.cell.InputTokens = &in
		}
	}
	c.cell.GPUs = gpus(m.Setting)
	c.cell.Links = c.cell.GPUs != 1 && links(m.Setting["ceiling_key"])
	c.selection = s.selection(m.Setting)
	c.selection.Expected = c.cell.GPUs
	c.workload = dcgm.Workload{Namespace: known(m.Setting["namespace"]), Pods: c.selection.Pods, MIG: s.MIG}
}

func cellID(c *cell) string {
	coords := make([]perf.Coord, len(c.in.Cell))
	for i, x := range c.in.Cell {
		coords[i] = perf.Coord{Axis: x.Axis, Value: x.Value}
	}
	return perf.CellID(coords)
}

// known is the value of a setting's field, "" if it could not be learned.
func known(v string) string {
	if v == perf.Unknown {
		return ""
	}
	return v
}

// gpus is how many GPUs served: as told, else tp·pp·dp; 0 is not known.
func gpus(s perf.Setting) int {
	if n, err := strconv.Atoi(s["gpu_count"]); err == nil {
		return n
	}
	n := 1
	for _, name := range []string{"tp", "pp", "dp"} {
		size, err := strconv.Atoi(s[name])
		if err != nil || size < 1 {
			return 0
		}
		n *= size
	}
	return n
}

// links reports whether GPUs of the hardware are joined by NVLink. Of hardware
// that is not known they are taken to be: its fields are then asked for, and a
// gap is said.
func links(hardware string) bool {
	ceilings, err := sol.BuiltinCeilings()
	if err != nil {
		return true
	}
	peaks, err := dcgm.PeaksOf(ceilings, hardware)
	return err != nil || peaks.LinkDir > 0
}

// selection is what the spec names, else what the setting knows.
func (s *Step) selection(setting perf.Setting) dcgm.Selection {
	sel := dcgm.Selection{UUIDs: s.GPUs, Node: s.Node, Indices: s.Indices, Pods: s.Pods, MIG: s.MIG}
	if len(sel.Pods) == 0 {
		if pod := known(setting["pod"]); pod != "" {
			sel.Pods = strings.Split(pod, ",")
		}
	}
	if len(sel.UUIDs) > 0 || sel.Node != "" {
		return sel
	}
	if uuids := known(setting["gpu_uuids"]); uuids != "" {
		sel.UUIDs = strings.Split(uuids, ",")
		return sel
	}
	sel.Node = known(setting["node"])
	return sel
}
