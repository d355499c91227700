// Package frontier says what to try next: which levers would bring a campaign
// nearer to Speed of Light, by how much at most, what proving it costs, and
// what is to be measured first.
//
// The story of a lever: each cell has a TPOT that was measured and parts of it
// that are known: what memory, compute and communication take at least, what
// prefill takes, what the host leaves idle (bound.go). A lever changes one
// part (lever.go). It may claim no more than that part: its upper bound is
// Amdahl's, TPOT/(TPOT - part*reduction), with the reduction from the floors
// computed anew. Its lower bound is what the same lever gave where it was
// tried, else there is none (tried.go). What is published is the interval and
// what it rests on, never one invented number.
//
//	value = sum over the cells of a focus of ln(unlock), the middle of the interval
//	cost  = GPU-hours of the gate x risk of the change
//	score = value / cost
//
// The thresholds are data: configs/frontier.yaml, and a file of one's own.
package frontier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Schema names the shape of a Frontier.
const Schema = "frontier-result/v1"

// A Frontier is what is left between a campaign and Speed of Light.
type Frontier struct {
	Schema  string  `json:"schema"`
	State   State   `json:"state"`
	Text    string  `json:"text"` // what the state says
	Cells   []Cell  `json:"cells"`
	Levers  []Lever `json:"levers"`  // open, and those to measure for first
	Refuted []Lever `json:"refuted"` // with their evidence, for good
}

// A State says whether there is a next lever.
type State string

// The states of a Frontier.
const (
	Open     State = "open"     // there is a next lever
	Empty    State = "empty"    // none, at a documented wall or with every lever refuted
	Required State = "required" // none, and nothing documents why: the record is not complete
)

// A Cell is where one cell's time goes.
type Cell struct {
	Cell          string   `json:"cell_id"`
	Row           string   `json:"row_uid"`
	Shape         string   `json:"shape"` // load and lengths
	Bound         string   `json:"bound"`
	Why           string   `json:"why"`        // the numbers behind Bound
	Confidence    string   `json:"confidence"` // DCGM, or timing only
	Unknown       []string `json:"unknown,omitempty"`
	TPOTms        float64  `json:"tpot_ms"`
	MemoryMS      float64  `json:"t_mem_ms"`
	ComputeMS     float64  `json:"t_flop_ms"`
	CommMS        float64  `json:"t_comm_ms"`
	PrefillMS     float64  `json:"t_prefill_ms"`
	HostMS        *float64 `json:"t_host_ms,omitempty"` // nil: needs DCGM
	UnexplainedMS float64  `json:"unexplained_ms"`
	PctSoL        *float64 `json:"pct_sol,omitempty"`
	PctAchievable *float64 `json:"pct_achievable,omitempty"`
}

// The status of a Lever.
const (
	StatusOpen         = "open"
	StatusMeasureFirst = "measure first"
	StatusRefuted      = "refuted"
)

// A Lever is one thing to change.
type Lever struct {
	ID        string            `json:"lever"`
	Name      string            `json:"name"`
	Component string            `json:"component"` // the part of TPOT that it changes
	Status    string            `json:"status"`
	First     string            `json:"measure_first,omitempty"` // what to measure, and how
	Gains     []Gain            `json:"gains"`
	Best      map[Focus]int     `json:"best"`       // of Gains, among the cells of a focus; absent: none is there
	Low       float64           `json:"unlock_low"` // where it may give most; 1 is no evidence
	High      float64           `json:"unlock_high"`
	Basis     string            `json:"basis"`
	Gate      string            `json:"gate"`
	GPUHours  float64           `json:"gate_gpu_hours"`
	Risk      string            `json:"risk"`
	Cost      float64           `json:"cost"`
	Value     map[Focus]float64 `json:"value"`
	Score     map[Focus]float64 `json:"score"`
	Evidence  string            `json:"evidence,omitempty"` // of a refuted lever
}

// A Gain is what a lever may give at one cell.
type Gain struct {
	Cell    string  `json:"cell_id"`
	Row     string  `json:"row_uid"`
	Low     float64 `json:"unlock_low"`
	High    float64 `json:"unlock_high"`
	PartMS  float64 `json:"part_ms"` // of TPOT that the lever addresses
	Reduces float64 `json:"reduces"` // share of that part which it takes away at most
	Basis   string  `json:"basis"`
	Gate    string  `json:"gate"` // what would prove it there
}

// A Focus is what a campaign is after.
type Focus string

// The focuses of campaigns.
const (
	Latency    Focus = "latency"
	Throughput Focus = "throughput"
	Mixed      Focus = "mixed"
)

// Focuses lists them.
func Focuses() []Focus { return []Focus{Latency, Throughput, Mixed} }

// Ranked returns the levers as a focus ranks them: those that are open by
// score, then those to measure for first. Ties go to the cheaper. The interval,
// its basis and the gate are those of the cell of that focus where the lever
// may give most.
func (f *Frontier) Ranked(focus Focus) []Lever {
	if !slices.Contains(Focuses(), focus) {
		focus = Mixed
	}
	out := slices.Clone(f.Levers)
	for i := range out {
		if at, ok := out[i].Best[focus]; ok && at >= 0 && at < len(out[i].Gains) {
			g := out[i].Gains[at]
			out[i].Low, out[i].High, out[i].Basis, out[i].Gate = g.Low, g.High, g.Basis, g.Gate
		}
	}
	slices.SortStableFunc(out, func(a, b Lever) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(b.Score[focus], a.Score[focus]), cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func order(l Lever) int {
	if l.Status == StatusOpen {
		return 0
	}
	return 1
}

// Next returns the lever to try next, if there is one.
func (f *Frontier) Next(focus Focus) (Lever, bool) {
	ranked := f.Ranked(focus)
	if len(ranked) == 0 {
		return Lever{}, false
	}
	return ranked[0], true
}

// Unlock prints the interval of a lever or gain.
func Unlock(low, high float64) string {
	if low <= 1 {
		return fmt.Sprintf("up to %.2fx (no evidence below that)", high)
	}
	return fmt.Sprintf("%.2fx to %.2fx", low, high)
}

// JSON writes the frontier, the same for the same frontier.
func (f *Frontier) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return nil, fmt.Errorf("frontier: %w", err)
	}
	return append(b, '\n'), nil
}

// Read reads what JSON wrote.
func Read(data []byte) (*Frontier, error) {
	var f Frontier
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("frontier: %w", err)
	}
	if f.Schema != Schema {
		return nil, fmt.Errorf("frontier: the schema is %.40q, want %q", f.Schema, Schema)
	}
	return &f, nil
}
