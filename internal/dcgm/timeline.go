package dcgm

import (
	"math"
	"strconv"
)

// A Timeline is what pages draw: the collections of each GPU, before, in and
// after the window, thinned to a number that a page can show.
type Timeline struct {
	T0MS int64          `json:"t0_ms"`
	GPUs []GPUTimeline  `json:"gpus"`
	Keys map[string]int `json:"fields"` // key to field id
}

// A GPUTimeline is one GPU: values by key, beside the times.
type GPUTimeline struct {
	Index int                   `json:"index"`
	Node  string                `json:"node,omitempty"`
	AtMS  []int64               `json:"at_ms"` // from T0MS; the end of what a value tells of
	Kept  []bool                `json:"kept"`
	V     map[string][]*Rounded `json:"v"`
	Mask  []int64               `json:"mask,omitempty"` // clock event reasons
}

// A Rounded is written with four significant digits.
type Rounded float64

// MarshalJSON implements json.Marshaler.
func (r Rounded) MarshalJSON() ([]byte, error) { return fourDigits(float64(r)), nil }

// drawn are the fields of a timeline.
var drawn = []Field{GR, SM, Tensor, DRAM, NVLinkTx, NVLinkRx, Power, SMClock}

// mostDrawn is how many points of one GPU a page shows.
const mostDrawn = 160

func timeline(e *evidence) *Timeline {
	t := &Timeline{Keys: map[string]int{}}
	for i := range e.gpus {
		for _, c := range e.gpus[i].all {
			if t.T0MS == 0 || c.at < t.T0MS {
				t.T0MS = c.at
			}
		}
	}
	for i := range e.gpus {
		if len(e.gpus[i].all) > 0 {
			t.GPUs = append(t.GPUs, t.of(&e.gpus[i]))
		}
	}
	if len(t.GPUs) == 0 {
		return nil
	}
	return t
}

// of draws one GPU; neighbouring collections are averaged where there are too
// many, and a point is kept if all that it averages were.
func (t *Timeline) of(g *gpuEvidence) GPUTimeline {
	kept := map[int64]bool{}
	for _, c := range g.kept {
		kept[c.at] = true
	}
	every := (len(g.all) + mostDrawn - 1) / mostDrawn
	out := GPUTimeline{Index: g.Index, Node: g.Node, V: map[string][]*Rounded{}}
	for from := 0; from < len(g.all); from += every {
		bucket := g.all[from:min(from+every, len(g.all))]
		all, mask := true, int64(0)
		for _, c := range bucket {
			all = all && kept[c.at]
			mask |= int64(c.values[ClockReasons])
		}
		out.AtMS = append(out.AtMS, bucket[len(bucket)-1].at-t.T0MS)
		out.Kept, out.Mask = append(out.Kept, all), append(out.Mask, mask)
		for _, f := range drawn {
			sum, n := 0.0, 0
			for _, c := range bucket {
				if v, ok := c.values[f]; ok {
					sum, n = sum+v, n+1
				}
			}
			var point *Rounded
			if n > 0 {
				v := Rounded(sum / float64(n))
				point = &v
				t.Keys[f.Key()] = int(f)
			}
			out.V[f.Key()] = append(out.V[f.Key()], point)
		}
	}
	for _, f := range drawn { // a field that the GPU has not is no list of nothing
		if all := out.V[f.Key()]; !anyPoint(all) {
			delete(out.V, f.Key())
		}
	}
	return out
}

func anyPoint(points []*Rounded) bool {
	for _, p := range points {
		if p != nil && !math.IsNaN(float64(*p)) {
			return true
		}
	}
	return false
}

func fourDigits(v float64) []byte { return strconv.AppendFloat(nil, v, 'g', 4, 64) }
