package dcgm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// telemetryFields are the names that AIPerf gives DCGM's fields in
// gpu_telemetry_export.jsonl, and the factor back to DCGM's units. Its
// sm_utilization is left out: whether that is the ratio of 1002 or a
// percentage from NVML depends on a collector that the file does not name.
var telemetryFields = map[string]struct {
	field  Field
	factor float64
}{
	"gpu_power_usage":         {Power, 1},
	"energy_consumption":      {Energy, 1e9}, // MJ
	"gpu_utilization":         {203, 1},
	"memory_copy_utilization": {204, 1},
	"mem_utilization":         {204, 1},
	"gpu_memory_used":         {252, 1e9 / (1 << 20)}, // GB
	"sm_clock_frequency":      {SMClock, 1},
	"memory_clock_frequency":  {MemClock, 1},
	"memory_temperature":      {140, 1},
	"gpu_temperature":         {GPUTemp, 1},
	"xid_errors":              {XID, 1},
	"thermal_violation":       {ThermalViolation, 1}, // a counter, whatever its unit
	"power_violation":         {PowerViolation, 1},
}

// A Telemetry is what was read from a file of AIPerf's GPU telemetry.
type Telemetry struct {
	Samples Samples
	Lines   int
	Unknown map[string]int // names that are no known field, and how often
}

// telemetryLine is one line: one GPU at one time.
type telemetryLine struct {
	TimestampNS int64                      `json:"timestamp_ns"`
	Index       *int                       `json:"gpu_index"`
	UUID        string                     `json:"gpu_uuid"`
	Model       string                     `json:"gpu_model_name"`
	PCI         string                     `json:"pci_bus_id"`
	Node        string                     `json:"hostname"`
	URL         string                     `json:"telemetry_source_url"`
	OldURL      string                     `json:"dcgm_url"`
	Data        map[string]json.RawMessage `json:"telemetry_data"`
}

// ReadTelemetry reads AIPerf's gpu_telemetry_export.jsonl. A GPU that two
// exporters report is taken once: by its UUID, at the times of the first.
func ReadTelemetry(r io.Reader) (*Telemetry, error) {
	t := &Telemetry{Unknown: map[string]int{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	first := map[string]string{} // exporter that reports a GPU, by GPU
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line telemetryLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("AIPerf GPU telemetry: line %d: %w", n, err)
		}
		if line.TimestampNS <= 0 || line.UUID == "" && line.Index == nil {
			return nil, fmt.Errorf("AIPerf GPU telemetry: line %d: it has no timestamp_ns, or names no GPU (gpu_uuid, gpu_index)", n)
		}
		g := GPU{UUID: line.UUID, Model: line.Model, PCI: line.PCI, Node: line.Node, Index: -1}
		if line.Index != nil {
			g.Index = *line.Index
		}
		exporter := line.Node + " " + line.URL + line.OldURL
		if other, ok := first[g.Key()]; ok && other != exporter {
			continue
		}
		first[g.Key()] = exporter
		t.Lines++
		t.add(g, line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("AIPerf GPU telemetry: %w", err)
	}
	return t, nil
}

func (t *Telemetry) add(g GPU, line telemetryLine) {
	for name, raw := range line.Data {
		var v *float64
		if json.Unmarshal(raw, &v) != nil || v == nil { // no number, or null
			continue
		}
		known, ok := telemetryFields[name]
		if rest, vendor := strings.CutPrefix(name, "nvidia_"); vendor { // from schema 1.5 on
			if known, ok = telemetryFields[rest]; !ok {
				known, ok = telemetryFields["gpu_"+rest]
			}
		}
		if !ok {
			t.Unknown[name]++
			continue
		}
		t.Samples.add(known.field, g, nil, line.TimestampNS/1e6, *v*known.factor)
	}
}
