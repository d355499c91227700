package dcgm

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pipeline/internal/digest"
)

// A world is a node whose GPUs are busy from second 0 to second load, and an
// exporter on it that is scraped from lead seconds before until lead after.
// Figures are means over the collect interval and at most one interval old, as
// those of DCGM are.
type world struct {
	gpus, others      int
	collect, scrape   float64 // intervals, s
	load, lead        float64
	seen              func(f Field, gpu int, t, busy float64) float64 // what is exported of a collection that ends at t
	skip              func(f Field, gpu int, t float64) bool          // scrapes without the field
	labels            map[string]string
	cell              func(*Cell)
	frozen            func(*Frozen)
	selection         Selection
	declared, percent bool
}

var began = time.Date(2026, 11, 23, 14, 2, 10, 0, time.UTC)

func healthy() *world {
	return &world{gpus: 4, collect: 1, scrape: 0.5, load: 60, lead: 6, declared: true}
}

// truth is what a GPU of the cell does; busy is the share of the interval in
// which it was loaded. It wobbles, and never twice alike.
func truth(f Field, gpu int, t, busy float64) float64 {
	wobble := 1 + 0.01*math.Sin(7*t+float64(gpu)) + 0.002*float64(gpu)
	switch f {
	case GR:
		return 0.97 * busy * (1 + 0.005*math.Sin(3*t))
	case SM:
		return 0.90 * busy * wobble
	case Occupancy:
		return 0.35 * busy * wobble
	case Tensor:
		return 0.20 * busy * wobble
	case DRAM:
		return 0.60 * busy * wobble
	case NVLinkTx, NVLinkRx:
		return math.Floor(2e10 * busy * wobble)
	case PCIeTx, PCIeRx:
		return math.Floor(1e8 * busy * wobble)
	case SMClock, MaxSMClock:
		return 1980
	case MemClock:
		return 2619
	case ClockReasons:
		return 0
	case GPUTemp:
		return 40 + math.Floor(20*busy)
	case Power:
		return 100 + 500*busy
	case XID, ThermalViolation, ECCDoubleBit, RemappedRows, RemapFailure:
		return 0
	}
	return math.NaN()
}

var exported = []Field{GR, SM, Occupancy, Tensor, DRAM, NVLinkTx, NVLinkRx, PCIeTx, PCIeRx, SMClock, MaxSMClock, MemClock, ClockReasons, GPUTemp, Power, Energy,
	XID, ThermalViolation, ECCDoubleBit, RemappedRows, RemapFailure}

// freeze scrapes the world.
func (w *world) freeze() (*Frozen, Cell) {
	if w.seen == nil {
		w.seen = truth
	}
	var s Samples
	energy := make([]float64, w.gpus+w.others)
	last, collected := math.Inf(-1), -1000
	values := map[string]float64{}
	for i := 0; ; i++ {
		t := -w.lead + float64(i)*w.scrape + 0.013
		if t > w.load+w.lead {
			break
		}
		// Collections end at whole multiples of the interval.
		if k := int(math.Floor(t / w.collect)); k != collected {
			collected = k
			end := float64(k) * w.collect
			busy := max(0, min(end, w.load)-max(end-w.collect, 0)) / w.collect
			for g := range w.gpus + w.others {
				b := busy
				if g >= w.gpus {
					b = 0
				}
				for _, f := range exported {
					if f != Energy {
						values[fmt.Sprint(f, g)] = w.seen(f, g, end, b)
					}
				}
				if !math.IsInf(last, -1) {
					energy[g] += values[fmt.Sprint(Power, g)] * (end - last) * 1e3
				}
				values[fmt.Sprint(Energy, g)] = math.Floor(energy[g])
				if v := w.seen(Energy, g, end, energy[g]); !math.IsNaN(v) {
					values[fmt.Sprint(Energy, g)] = v
				}
			}
			last = end
		}
		at := began.Add(time.Duration(t * 1e9)).UnixMilli()
		for g := range w.gpus + w.others {
			labels := map[string]string{"gpu": fmt.Sprint(g), "UUID": fmt.Sprintf("GPU-%d", g), "Hostname": "gpu-07", "modelName": "NVIDIA H200"}
			for k, v := range w.labels {
				labels[k] = v
			}
			for _, f := range exported {
				if w.skip != nil && w.skip(f, g, t) {
					continue
				}
				s.Add(f.Names()[0], labels, at, values[fmt.Sprint(f, g)])
			}
		}
	}
	f := &Frozen{Campaign: "glm", CellID: "concurrency=64", Source: Source{Kind: FromPrometheus, Host: "prometheus:9090", ScrapeS: w.scrape, Percent: w.percent}}
	if w.declared {
		f.Source.CollectS = w.collect
	}
	if w.others > 0 && w.selection.Node == "" {
		w.selection.Node = "gpu-07"
		for i := range w.gpus {
			w.selection.Indices = append(w.selection.Indices, i)
		}
	}
	f.GPUs, f.Neighbours, f.Selected = w.selection.Choose(&s)
	at := func(t float64) time.Time { return began.Add(time.Duration(t * 1e9)) }
	f.Window = NewWindow(at(0), at(w.load))
	tps := 1000.0
	tokens, in := tps*(w.load-4), 4*tps*(w.load-4)
	cell := Cell{ID: f.CellID, GPUs: w.gpus, Links: w.gpus > 1, Full: f.Window, Steady: NewWindow(at(2), at(w.load-2)), Trim: "all streams busy",
		OutputTPS: &tps, OutputTokens: &tokens, InputTokens: &in}
	if w.cell != nil {
		w.cell(&cell)
	}
	if w.frozen != nil {
		w.frozen(f)
	}
	f.Freeze(&s)
	return f, cell
}

func (w *world) assess(t *testing.T) *Report {
	t.Helper()
	f, cell := w.freeze()
	r, err := Assess(f, digest.Of([]byte("x")), cell)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
