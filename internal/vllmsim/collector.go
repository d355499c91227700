package vllmsim

import (
	"fmt"
	"sync"
	"time"

	"pipeline/internal/sol"
)

// Of no GPU in particular: a clock to report, and what stands for idle and
// busy in figures for which there is no model.
const (
	dcgmClockMHz    = 1500
	dcgmIdleC       = 32
	dcgmBusyC       = 38   // on top, at full power
	dcgmIdlePower   = 0.12 // of the board's limit
	dcgmOccupancy   = 0.35 // of the SM activity
	dcgmJitter      = 0.004
	dcgmNeighbour   = 0.6 // load of a co-tenant
	dcgmSentinel    = 9223372036854775794
	dcgmXID         = 79
	dcgmThermalMask = 0x40
	dcgmPowerMask   = 0x4
	dcgmIdleMask    = 0x1
)

// A collector reads the account of steps at regular times, as DCGM reads the
// counters of GPUs, and keeps what it saw last.
type collector struct {
	config DCGM
	engine *engine
	faults func() dcgmFaults
	gpu    sol.GPU
	shares shares
	busyN  int // GPUs that serve

	mu     sync.Mutex
	at     instant // end of the last collection
	seen   work
	number uint64
	gpus   []gpuState
}

// shares are what turns work into ratios of one GPU.
type shares struct {
	bandwidth float64 // bytes/s at the memory's clock, of one GPU
	scale     float64 // of time
	boardW    float64 // 0: not known, and power is not exported
	memClock  float64 // MHz; 0: not known
	weightMiB float64 // a GPU
	cacheMiB  float64 // a GPU
}

// A gpuState is what the exporter says of one GPU.
type gpuState struct {
	uuid                                       string
	gr, sm, occupancy, tensor, dram            float64
	pcieTx, pcieRx, linkTx, linkRx             float64 // bytes/s
	powerW, energyMJ, counterMJ, thermalNS     float64 // energy in millijoules
	smCycles, smActive, mmaActive, pcTxB, pcRB float64 // counters
	clockMHz, tempC, mask, xid, dbe            float64
}

func newCollector(s *Server, ceilings *sol.Ceilings) *collector {
	c := &collector{config: s.config.DCGM, engine: s.engine, gpu: s.deployment.GPU, busyN: s.config.TensorParallelSize}
	c.faults = func() dcgmFaults { return parseDCGMFaults(s.faults.Load().DCGM) }
	figure := func(name string) float64 {
		v, err := ceilings.Lookup(c.gpu.Key + "." + name)
		if err != nil {
			return 0
		}
		return v
	}
	c.shares = shares{
		bandwidth: c.gpu.Bandwidth, scale: s.config.TimeScale, boardW: figure("board_w"), memClock: figure("mem_clock_mhz"),
		weightMiB: s.deployment.Shape.WeightBytes() / float64(c.busyN) / (1 << 20),
		cacheMiB:  float64(s.limits.kvTokens) * s.deployment.KVBytesPerToken() / float64(c.busyN) / (1 << 20),
	}
	if clocked := figure("hbm_tbps_clocked"); clocked > 0 {
		c.shares.bandwidth = clocked * 1e12
	}
	n := max(c.config.GPUs, c.busyN) + 1 // one to spare, for a co-tenant that a fault brings
	for i := range n {
		c.gpus = append(c.gpus, gpuState{uuid: gpuUUID(uint64(s.config.Seed), c.gpu.Key, c.config.Node, i), clockMHz: dcgmClockMHz, tempC: dcgmIdleC})
	}
	return c
}

// gpuUUID is the same for the same GPU of the same node.
func gpuUUID(seed uint64, hardware, node string, index int) string {
	h := mix(seed + uint64(index))
	for _, b := range []byte(hardware + "/" + node) {
		h = mix(h ^ uint64(b))
	}
	a, b := mix(h), mix(mix(h))
	return fmt.Sprintf("GPU-%08x-%04x-%04x-%04x-%012x", uint32(a>>32), uint16(a>>16), uint16(a), uint16(b>>48), b&(1<<48-1))
}

// run collects until quit.
func (c *collector) run(quit <-chan struct{}) {
	tick := time.NewTicker(c.config.Interval)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			c.collect(c.engine.now())
		}
	}
}

// collect makes the figures of the time since the last collection.
func (c *collector) collect(now instant) {
	total := c.engine.work(now)
	faults := c.faults()
	c.mu.Lock()
	defer c.mu.Unlock()
	span := (now - c.at).Seconds()
	if span <= 0 || faults.has("constant") && c.gpus[0].gr > 0 {
		return
	}
	done := total.less(c.seen)
	c.at, c.seen = now, total
	c.number++
	for i := range c.gpus {
		load := done
		switch {
		case i >= c.busyN && !(faults.has("co_tenant") && i == c.busyN), faults.has("idle"):
			load = work{}
		case i == c.busyN, faults.has("busy_before") && done.kernel == 0:
			load = c.neighbour(span)
		}
		c.gpus[i].collect(c.shares, load, span, c.jitter(i), i < c.busyN, faults, i == c.busyN-1)
	}
}

// neighbour is the work of someone else's job.
func (c *collector) neighbour(span float64) work {
	t := dcgmNeighbour * span
	return work{kernel: t, compute: t, math: t / 2, bytes: t * c.shares.bandwidth * 0.7}
}

// jitter is a factor near 1: two GPUs never read the same, and neither does
// one GPU twice. It depends on nothing but the GPU and the collection.
func (c *collector) jitter(gpu int) float64 {
	u := float64(mix(mix(uint64(gpu)+1)+c.number)>>11) / (1 << 53)
	return 1 + dcgmJitter*(2*u-1)
}

func (g *gpuState) collect(s shares, w work, span, jitter float64, serves bool, faults dcgmFaults, last bool) {
	ratio := func(seconds float64) float64 { return min(1, max(0, seconds/span*jitter)) }
	g.gr, g.sm, g.tensor = ratio(w.kernel), ratio(w.compute), ratio(w.math)
	// Bytes are not scaled with the time: a GPU whose time is scaled moves them
	// faster, and what is exported is what it would be in real time.
	g.dram = ratio(w.bytes / s.bandwidth * s.scale)
	if serves && faults.has("low_traffic") {
		g.dram /= 3
	}
	if last && faults.has("straggler") {
		g.dram *= 0.7
	}
	g.occupancy = g.sm * dcgmOccupancy
	link := w.link / span * s.scale
	g.linkTx, g.linkRx = link*jitter, link*(2-jitter)
	g.pcieTx, g.pcieRx = w.tokens/span*64, w.tokens/span*512+w.steps/span*4096

	g.clockMHz, g.mask, g.xid = dcgmClockMHz, 0, 0
	if w.kernel == 0 {
		g.mask = dcgmIdleMask
	} else if serves && faults.has("thermal") {
		g.mask, g.clockMHz = dcgmThermalMask, dcgmClockMHz*0.7
		g.thermalNS += span * 1e9
	} else if serves && faults.has("power_cap") {
		g.mask, g.clockMHz = dcgmPowerMask, dcgmClockMHz*0.85
	}
	if last && faults.has("xid") {
		g.xid = dcgmXID
	}
	if last && faults.has("ecc") && w.kernel > 0 && g.dbe == 0 {
		g.dbe = 1
	}
	part := dcgmIdlePower + 0.5*g.dram + 0.35*g.tensor
	g.powerW = s.boardW * min(1, part) * jitter
	g.energyMJ += g.powerW * span * 1e3
	if g.counterMJ += g.powerW * span * 1e3; faults.has("energy") {
		g.counterMJ += g.powerW * span * 200
	}
	g.tempC = dcgmIdleC + dcgmBusyC*part
	cycles := g.clockMHz * 1e6 * span
	g.smCycles += cycles
	g.smActive += cycles * g.sm
	g.mmaActive += cycles * g.tensor
	g.pcTxB += g.pcieTx * span
	g.pcRB += g.pcieRx * span
}
