package vllmsim

import (
	"fmt"
	"net/http"
	"strings"
)

// A gpuField is one field of DCGM as the exporter writes it.
type gpuField struct {
	legacy, now string // its two names; now is "" if there is but one
	kind, help  string
	optional    string // "": in the default counters file; profiling: not there; counters: newer DCGM only
	known       func(s *shares) bool
	of          func(g *gpuState) float64
}

// gpuFields are in the order of dcgm-exporter's counters file; names are those
// of NVIDIA/DCGM's dcgm_fields.h, before and after its renaming of 2026.
func gpuFields(s *shares) []gpuField {
	board := func(s *shares) bool { return s.boardW > 0 }
	return []gpuField{
		{legacy: "DCGM_FI_DEV_SM_CLOCK", kind: "gauge", help: "SM clock frequency (in MHz).", of: func(g *gpuState) float64 { return g.clockMHz }},
		{legacy: "DCGM_FI_DEV_MEM_CLOCK", kind: "gauge", help: "Memory clock frequency (in MHz).",
			known: func(s *shares) bool { return s.memClock > 0 }, of: func(*gpuState) float64 { return s.memClock }},
		{legacy: "DCGM_FI_DEV_MAX_SM_CLOCK", kind: "gauge", help: "Maximum supported SM clock (in MHz).", optional: "profiling", of: func(*gpuState) float64 { return dcgmClockMHz }},
		{legacy: "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", now: "DCGM_FI_DEV_CLOCKS_EVENT_REASONS", kind: "gauge", help: "Current clock event reasons (bitmask).",
			optional: "profiling", of: func(g *gpuState) float64 { return g.mask }},
		{legacy: "DCGM_FI_DEV_GPU_TEMP", now: "DCGM_FI_DEV_GPU_TEMP_CELSIUS", kind: "gauge", help: "GPU temperature (in C).", of: func(g *gpuState) float64 { return round(g.tempC, 1) }},
		{legacy: "DCGM_FI_DEV_POWER_USAGE", now: "DCGM_FI_DEV_BOARD_POWER_WATTS", kind: "gauge", help: "Power draw (in W).", known: board,
			of: func(g *gpuState) float64 { return round(g.powerW, 1e3) }},
		{legacy: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", kind: "counter", help: "Total energy consumption since boot (in mJ).", known: board,
			of: func(g *gpuState) float64 { return round(g.counterMJ, 1) }},
		{legacy: "DCGM_FI_DEV_GPU_UTIL", now: "DCGM_FI_DEV_GPU_UTIL_RATIO", kind: "gauge", help: "GPU utilization (in %).", of: func(g *gpuState) float64 { return round(100*g.gr, 1) }},
		{legacy: "DCGM_FI_DEV_MEM_COPY_UTIL", kind: "gauge", help: "Memory utilization (in %).", of: func(g *gpuState) float64 { return round(100*g.dram, 1) }},
		{legacy: "DCGM_FI_DEV_XID_ERRORS", now: "DCGM_FI_DEV_XID_ERROR", kind: "gauge", help: "Value of the last XID error encountered.", of: func(g *gpuState) float64 { return g.xid }},
		{legacy: "DCGM_FI_DEV_THERMAL_VIOLATION", kind: "counter", help: "Throttling duration due to thermal constraints (in ns).", optional: "profiling",
			of: func(g *gpuState) float64 { return round(g.thermalNS, 1) }},
		{legacy: "DCGM_FI_DEV_FB_USED", kind: "gauge", help: "Framebuffer memory used (in MiB).", of: func(*gpuState) float64 { return round(s.weightMiB+s.cacheMiB, 1) }},
		{legacy: "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", kind: "counter", help: "Total number of double-bit volatile ECC errors.", optional: "profiling", of: func(g *gpuState) float64 { return g.dbe }},
		{legacy: "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", kind: "counter", help: "Number of remapped rows for uncorrectable errors", of: func(*gpuState) float64 { return 0 }},
		{legacy: "DCGM_FI_DEV_ROW_REMAP_FAILURE", kind: "gauge", help: "Whether remapping of rows has failed", of: func(*gpuState) float64 { return 0 }},
		{legacy: "DCGM_FI_PROF_GR_ENGINE_ACTIVE", now: "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", kind: "gauge", help: "Ratio of time the graphics engine is active.", of: func(g *gpuState) float64 { return round(g.gr, 1e6) }},
		{legacy: "DCGM_FI_PROF_SM_ACTIVE", now: "DCGM_FI_PROF_SM_UTIL_RATIO", kind: "gauge", help: "The ratio of cycles an SM has at least 1 warp assigned.",
			optional: "profiling", of: func(g *gpuState) float64 { return round(g.sm, 1e6) }},
		{legacy: "DCGM_FI_PROF_SM_OCCUPANCY", now: "DCGM_FI_PROF_SM_OCCUPANCY_RATIO", kind: "gauge", help: "The ratio of number of warps resident on an SM.",
			optional: "profiling", of: func(g *gpuState) float64 { return round(g.occupancy, 1e6) }},
		{legacy: "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", now: "DCGM_FI_PROF_TENSOR_UTIL_RATIO", kind: "gauge", help: "Ratio of cycles the tensor (HMMA) pipe is active.", of: func(g *gpuState) float64 { return round(g.tensor, 1e6) }},
		{legacy: "DCGM_FI_PROF_DRAM_ACTIVE", now: "DCGM_FI_PROF_DRAM_UTIL_RATIO", kind: "gauge", help: "Ratio of cycles the device memory interface is active sending or receiving data.", of: func(g *gpuState) float64 { return round(g.dram, 1e6) }},
		{legacy: "DCGM_FI_PROF_PCIE_TX_BYTES", kind: "gauge", help: "The rate of data transmitted over the PCIe bus - including both protocol headers and data payloads - in bytes per second.",
			of: func(g *gpuState) float64 { return round(g.pcieTx, 1) }},
		{legacy: "DCGM_FI_PROF_PCIE_RX_BYTES", kind: "gauge", help: "The rate of data received over the PCIe bus - including both protocol headers and data payloads - in bytes per second.",
			of: func(g *gpuState) float64 { return round(g.pcieRx, 1) }},
		{legacy: "DCGM_FI_PROF_NVLINK_TX_BYTES", kind: "gauge", help: "The rate of data transmitted over NVLink in bytes per second.", optional: "profiling",
			of: func(g *gpuState) float64 { return round(g.linkTx, 1) }},
		{legacy: "DCGM_FI_PROF_NVLINK_RX_BYTES", kind: "gauge", help: "The rate of data received over NVLink in bytes per second.", optional: "profiling",
			of: func(g *gpuState) float64 { return round(g.linkRx, 1) }},
		{legacy: "DCGM_FI_PROF_SM_CYCLES_ELAPSED_TOTAL", kind: "counter", help: "SM cycles elapsed.", optional: "counters", of: func(g *gpuState) float64 { return round(g.smCycles, 1) }},
		{legacy: "DCGM_FI_PROF_SM_CYCLES_ACTIVE_TOTAL", kind: "counter", help: "SM cycles active.", optional: "counters", of: func(g *gpuState) float64 { return round(g.smActive, 1) }},
		{legacy: "DCGM_FI_PROF_MMA_CYCLES_ACTIVE_TOTAL", kind: "counter", help: "Cycles the MMA pipe is active.", optional: "counters", of: func(g *gpuState) float64 { return round(g.mmaActive, 1) }},
		{legacy: "DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL", kind: "counter", help: "Bytes transmitted over PCIe.", optional: "counters", of: func(g *gpuState) float64 { return round(g.pcTxB, 1) }},
		{legacy: "DCGM_FI_PROF_PCIE_RX_BYTES_TOTAL", kind: "counter", help: "Bytes received over PCIe.", optional: "counters", of: func(g *gpuState) float64 { return round(g.pcRB, 1) }},
	}
}

// ratio reports whether the field is a share of time or of cycles.
func (f gpuField) ratio() bool {
	return strings.HasPrefix(f.legacy, "DCGM_FI_PROF") && (strings.HasSuffix(f.legacy, "_ACTIVE") || strings.HasSuffix(f.legacy, "_OCCUPANCY"))
}

func round(v, to float64) float64 { return float64(int64(v*to+0.5)) / to }

func (s *Server) serveDCGM(w http.ResponseWriter, _ *http.Request) {
	c := s.collector
	faults := c.faults()
	c.mu.Lock()
	text, answers := c.text(faults), !faults.has("gap") || c.number%10 < 4
	c.mu.Unlock()
	if !answers {
		http.Error(w, "DCGM is not answering", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, text)
}

// text is the exporter's page. The caller holds mu.
func (c *collector) text(faults dcgmFaults) string {
	x := &exposition{}
	x.family("pipeline_sim_info", "gauge", "What is simulated here. No figure of this exporter comes from a GPU.")
	x.sample("pipeline_sim_info", `simulated="true",hardware=`+quoteLabel(c.gpu.Key), 1)
	if faults.has("empty") || c.number == 0 { // nothing was collected yet
		return x.b.String()
	}
	n := max(c.config.GPUs, c.busyN)
	if faults.has("co_tenant") {
		n = max(n, c.busyN+1)
	}
	for f, field := range gpuFields(&c.shares) {
		if !c.exports(field, faults) {
			continue
		}
		name := field.legacy
		if c.config.Names == newNames && field.now != "" {
			name = field.now
		}
		x.family(name, field.kind, field.help)
		for i := range n {
			if faults.has("half") && i%2 == 1 {
				continue
			}
			v := field.of(&c.gpus[i])
			if faults.has("percent") && field.ratio() {
				v *= 100
			}
			if faults.has("sentinel") && strings.HasPrefix(field.legacy, "DCGM_FI_PROF") && mix(c.number*64+uint64(f*32+i))%10 == 0 {
				v = dcgmSentinel
			}
			x.sample(name, c.labels(i, faults), v)
		}
	}
	return x.b.String()
}

func (c *collector) exports(f gpuField, faults dcgmFaults) bool {
	switch {
	case f.known != nil && !f.known(&c.shares):
		return false
	case f.optional == "counters":
		return c.config.Counters
	case f.optional == "profiling":
		return c.config.Fields == allFields && !faults.has("missing")
	}
	return true
}

// labels are those of dcgm-exporter, which renamed Hostname in 2026.
func (c *collector) labels(gpu int, faults dcgmFaults) string {
	node, uuid := c.config.Node, c.gpus[gpu].uuid
	if faults.has("other_node") {
		node += "-other"
		uuid = gpuUUID(0, c.gpu.Key, node, gpu)
	}
	host := "Hostname"
	if c.config.Names == newNames {
		host = "hostname"
	}
	labels := fmt.Sprintf(`gpu="%d",UUID=%s,pci_bus_id="00000000:%02X:00.0",device="nvidia%d",modelName=%s,%s=%s,DCGM_FI_DRIVER_VERSION="simulated"`,
		gpu, quoteLabel(uuid), 0x1b+gpu, gpu, quoteLabel("SIMULATED "+c.gpu.Key), host, quoteLabel(node))
	namespace, pod, ok := strings.Cut(c.config.Pod, "/")
	if faults.has("other_pod") {
		namespace, pod, ok = "someone", "else-0", true
	}
	if ok && gpu < c.busyN {
		labels += `,container="vllm",namespace=` + quoteLabel(namespace) + `,pod=` + quoteLabel(pod)
	}
	return labels
}
