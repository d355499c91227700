package rooflineimport

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/prom"
	"pipeline/internal/roofline"
	"pipeline/lake/perf"
)

// counters takes the GPU counters of a cell, cut to its steady window and
// checked, or says why there are none.
func (im *importing) counters(f roofline.Found, p *roofline.Point) (*roofline.DCGM, string, error) {
	m := p.Measurement
	if m.Status == perf.Failed || m.Start.IsZero() || m.End.IsZero() {
		return nil, "the measurement has no window to cut GPU counters to", nil
	}
	samples, source, err := im.samples(f)
	if err != nil {
		return nil, "", err
	}
	if samples == nil {
		return nil, fmt.Sprintf("the bundle has no GPU counters of this cell (%s, %s or %s)", roofline.DmonFile, roofline.CaptureFile, roofline.ExporterFile), nil
	}
	cell := dcgm.Cell{ID: f.ID, GPUs: im.gpus(), Links: im.gpus() > 1, Simulated: m.Simulated, Full: dcgm.NewWindow(m.Start, m.End)}
	cell.Steady, cell.Trim = dcgm.Trimmed(cell.Full)
	s := &m.Summary
	if w := m.Window; w != nil && m.Steady != nil {
		cell.Steady, cell.Trim = dcgm.NewWindow(m.Start.Add(time.Duration(w.FromNS)), m.Start.Add(time.Duration(w.ToNS))), w.Method
		s = m.Steady
	}
	cell.OutputTPS = s.OutputThroughput
	frozen := &dcgm.Frozen{CellID: f.ID, Simulated: m.Simulated, Source: source, Window: cell.Full, Measurement: f.Sum(roofline.BenchFile)}
	frozen.GPUs, frozen.Neighbours, frozen.Selected = im.selection(f, samples).Choose(samples)
	frozen.Freeze(samples)
	_, _, sum, err := frozen.Encode()
	if err != nil {
		return nil, "", err
	}
	report, err := dcgm.Assess(frozen, sum, cell)
	if err != nil {
		return nil, "", err
	}
	im.physics(report, p)
	return summary(report), "", nil
}

// gpus of the deployment.
func (im *importing) gpus() int {
	m := &im.b.Manifest
	return m.TensorParallel * max(1, m.PipelineParallel) * max(1, m.DataParallel)
}

// selection is by UUID where both the cell and the source tell them, else by
// node, else all that was captured.
func (im *importing) selection(f roofline.Found, samples *dcgm.Samples) dcgm.Selection {
	s := dcgm.Selection{Expected: im.gpus()}
	for _, g := range samples.GPUs() {
		if g.UUID != "" && len(f.Cell.GPUUUIDs) > 0 {
			s.UUIDs = f.Cell.GPUUUIDs
		}
		if g.Node != "" && f.Cell.Node != "" {
			s.Node = f.Cell.Node
		}
	}
	return s
}

// samples reads what was captured, nil if nothing was.
func (im *importing) samples(f roofline.Found) (*dcgm.Samples, dcgm.Source, error) {
	switch {
	case f.Has(roofline.DmonFile):
		return im.dmon(f)
	case f.Has(roofline.CaptureFile):
		return im.capture(f)
	case f.Has(roofline.ExporterFile):
		return im.exporter(f)
	}
	return nil, dcgm.Source{}, nil
}

func (im *importing) dmon(f roofline.Found) (*dcgm.Samples, dcgm.Source, error) {
	source := dcgm.Source{Kind: dcgm.FromDmon, File: roofline.DmonFile}
	meta := &roofline.DmonMeta{}
	if f.Has(roofline.DmonMetaFile) {
		text, err := im.b.ReadFile(f, roofline.DmonMetaFile)
		if err != nil {
			return nil, source, err
		}
		if meta, err = roofline.ParseDmonMeta(roofline.DmonMetaFile, text); err != nil {
			return nil, source, err
		}
	}
	o := dcgm.Dmon{Delay: time.Duration(meta.DelayMS) * time.Millisecond, Start: f.Cell.Started(), GPUs: map[int]dcgm.GPU{}}
	for _, id := range meta.Fields {
		o.Fields = append(o.Fields, dcgm.Field(id))
	}
	for index, uuid := range meta.GPUs {
		i, err := strconv.Atoi(index)
		if err != nil {
			return nil, source, fmt.Errorf("%s: gpus: %q is no index", roofline.DmonMetaFile, index)
		}
		o.GPUs[i] = dcgm.GPU{UUID: uuid, Index: i, Node: meta.Host}
	}
	source.Host = meta.Host
	source.CollectS = o.Delay.Seconds()
	source.ScrapeS = source.CollectS
	text, err := im.b.ReadFile(f, roofline.DmonFile)
	if err != nil {
		return nil, source, err
	}
	source.Size = int64(len(text))
	dump, err := dcgm.ReadDmon(bytes.NewReader(text), o)
	if err != nil {
		return nil, source, fmt.Errorf("%s: %w", roofline.DmonFile, err)
	}
	if !dump.Stamped && (o.Start.IsZero() || o.Delay == 0) {
		im.note(fmt.Sprintf("the lines of %s have no times, and t_start_ns or delay_ms is not told: they cannot be placed in a window", roofline.DmonFile))
		return nil, source, nil
	}
	if !dump.Stamped {
		im.note(fmt.Sprintf("the lines of %s have no times: they are counted from the start of the cell at the delay that was asked, which drifts", roofline.DmonFile))
	}
	return &dump.Samples, source, nil
}

// capture reads what a cell of this program kept of an exporter.
func (im *importing) capture(f roofline.Found) (*dcgm.Samples, dcgm.Source, error) {
	text, err := im.b.ReadFile(f, roofline.CaptureFile)
	if err != nil {
		return nil, dcgm.Source{}, err
	}
	c, samples, err := dcgm.ReadCapture(text)
	if err != nil {
		return nil, dcgm.Source{}, err
	}
	return samples, c.Source, nil
}

// exporterRE finds the lines that separate the scrapes of dcgm.prom.
var exporterRE = regexp.MustCompile(`(?m)^# scrape (\d{13}).*\n`)

func (im *importing) exporter(f roofline.Found) (*dcgm.Samples, dcgm.Source, error) {
	source := dcgm.Source{Kind: dcgm.FromScrape, File: roofline.ExporterFile}
	text, err := im.b.ReadFile(f, roofline.ExporterFile)
	if err != nil {
		return nil, source, err
	}
	source.Size = int64(len(text))
	samples := &dcgm.Samples{}
	at := exporterRE.FindAllSubmatchIndex(text, -1)
	var first, last int64
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		ms, err := strconv.ParseInt(string(text[m[2]:m[3]]), 10, 64)
		if err != nil {
			return nil, source, err
		}
		snapshot, err := prom.Parse(bytes.NewReader(text[m[1]:end]))
		if err != nil {
			return nil, source, fmt.Errorf("%s: scrape %d: %w", roofline.ExporterFile, i+1, err)
		}
		for _, name := range snapshot.Names() {
			found, _ := snapshot.Find(name)
			for _, s := range found {
				samples.Add(name, s.Labels, ms, s.Value)
			}
		}
		if i == 0 {
			first = ms
		}
		last = ms
	}
	if n := len(at); n > 1 {
		source.ScrapeS = float64(last-first) / 1e3 / float64(n-1)
	}
	return samples, source, nil
}

// physics holds the memory traffic of a decode cell against the least that the
// model must move.
func (im *importing) physics(r *dcgm.Report, p *roofline.Point) {
	dram, ok := r.Mean[dcgm.DRAM.Key()]
	if !ok || p.Kind != roofline.Decode || p.Analysis == nil {
		return
	}
	s := &p.Measurement.Summary
	if p.Analysis.MeasuredOver == "steady" {
		s = p.Measurement.Steady
	}
	bandwidth := im.gpu.Bandwidth
	if clocked, err := im.lib.Ceilings.Lookup(im.gpu.Key + ".hbm_tbps_clocked"); err == nil {
		bandwidth = clocked * 1e12
	}
	r.Settle(dcgm.CheckPhysics(dram.Mean, bandwidth, p.Analysis.FootprintGB*1e9, *s.OutputThroughput, im.gpus()))
}

func summary(r *dcgm.Report) *roofline.DCGM {
	d := &roofline.DCGM{NEff: r.NEffMin, GPUs: len(r.GPUs), Quality: r.Quality, Rigor: r.Rigor, Source: r.Source.Kind, Gap: r.Gap}
	if r.Kept != nil {
		d.Window = r.Kept.String()
	}
	for key, into := range map[string]**float64{
		dcgm.DRAM.Key(): &d.DRAM, dcgm.Tensor.Key(): &d.Tensor, dcgm.SM.Key(): &d.SM, dcgm.GR.Key(): &d.GR,
		dcgm.NVLinkTx.Key(): &d.NVLTx, dcgm.NVLinkRx.Key(): &d.NVLRx,
	} {
		if s, ok := r.Mean[key]; ok {
			*into = &s.Mean
		}
	}
	if s, ok := r.Mean[dcgm.DRAM.Key()]; ok {
		d.DRAMSd = &s.Std
	}
	for _, c := range r.Checks {
		if c.Status == dcgm.Warn || c.Status == dcgm.Fail {
			d.Checks = append(d.Checks, fmt.Sprintf("%s %s: %s", c.Code, c.Status, c.Text))
		}
	}
	return d
}
