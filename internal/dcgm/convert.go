package dcgm

import (
	"fmt"

	"pipeline/internal/sol"
)

// Peaks are the figures of a GPU that shares of peaks are made with, each
// with the path at which it stands in the ceilings. A figure that is not
// there is 0.
type Peaks struct {
	Bandwidth, LinkDir, PCIeDir             float64 // bytes/s; the links by direction
	BandwidthPath, LinkDirPath, PCIeDirPath string
}

// PeaksOf looks the figures of a hardware key up: of the memory the bandwidth
// at its clock where that is known, since that is what a GPU can reach and
// what DCGM counts against, else the nominal one.
func PeaksOf(ceilings *sol.Ceilings, hardware string) (Peaks, error) {
	gpu, err := ceilings.GPU(hardware)
	if err != nil {
		return Peaks{}, err
	}
	p := Peaks{Bandwidth: gpu.Bandwidth, BandwidthPath: gpu.BandwidthPath}
	figure := func(value *float64, path *string, name string, unit float64) {
		if v, err := ceilings.Lookup(hardware + "." + name); err == nil {
			*value, *path = v*unit, hardware+"."+name
		}
	}
	figure(&p.Bandwidth, &p.BandwidthPath, "hbm_tbps_clocked", 1e12)
	figure(&p.LinkDir, &p.LinkDirPath, "nvlink_gbps_dir", 1e9)
	figure(&p.PCIeDir, &p.PCIeDirPath, "pcie_gbps_dir", 1e9)
	return p, nil
}

// Shares are what was measured, as shares of peaks. A nil is not known.
type Shares struct {
	HBMPct, HBMGBps, TensorPct, SMPct, GRPct *float64
	NVLinkPctDir, PCIePctDir                 *float64 // of the busier direction
}

// SharesOf converts the means of a report: memory activity into percent of the
// peak and into GB/s, links into percent of one direction. On Hopper and
// later, field 1005 is the share of the theoretical bandwidth (NVML's GPM); on
// Ampere it is cycles in which the interface was busy, of which about 80 % is
// the practical most (NVIDIA's documentation of field 1005).
func (p Peaks) SharesOf(r *Report) Shares {
	var s Shares
	pct := func(f Field) *float64 {
		m, ok := r.Mean[f.Key()]
		if !ok {
			return nil
		}
		v := 100 * m.Mean
		return &v
	}
	s.HBMPct, s.TensorPct, s.SMPct, s.GRPct = pct(DRAM), pct(Tensor), pct(SM), pct(GR)
	if m, ok := r.Mean[DRAM.Key()]; ok {
		v := m.Mean * p.Bandwidth / 1e9
		s.HBMGBps = &v
	}
	busier := func(a, b Field, peak float64) *float64 {
		x, okX := r.Mean[a.Key()]
		y, okY := r.Mean[b.Key()]
		if !okX || !okY || peak == 0 {
			return nil
		}
		v := 100 * max(x.Mean, y.Mean) / peak
		return &v
	}
	s.NVLinkPctDir = busier(NVLinkTx, NVLinkRx, p.LinkDir)
	s.PCIePctDir = busier(PCIeTx, PCIeRx, p.PCIeDir)
	return s
}

// TensorUpper is the most that the matrix units can have computed while they
// were active, in FLOP/s of one GPU: an upper bound, since active is not full.
// It exists only where all matrix products have one input type: field 1004
// does not tell types apart.
func TensorUpper(r *Report, gpu sol.GPU, mathDTypes []string) (flops float64, path string, err error) {
	if len(mathDTypes) != 1 {
		return 0, "", fmt.Errorf("tensor activity cannot be turned into FLOP/s: the matrix products have %d input types, and field 1004 does not tell them apart", len(mathDTypes))
	}
	m, ok := r.Mean[Tensor.Key()]
	if !ok {
		return 0, "", fmt.Errorf("no samples of %s", Tensor)
	}
	peak, path, err := gpu.Peak(mathDTypes[0])
	return m.Mean * peak, path, err
}
