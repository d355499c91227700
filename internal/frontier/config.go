package frontier

import (
	"fmt"
	"slices"

	"pipeline/configs"
	"pipeline/internal/yaml"
)

// A Config holds the thresholds of configs/frontier.yaml, which says what each
// means.
type Config struct {
	Schema  string             `yaml:"schema"`
	Bounds  Bounds             `yaml:"bounds"`
	Levers  Limits             `yaml:"levers"`
	Regimes Regimes            `yaml:"regimes"`
	Gate    Gate               `yaml:"gate"`
	Risks   map[string]float64 `yaml:"risks"`
	Wall    float64            `yaml:"wall"` // %
	Tried   []Tried            `yaml:"tried"`
}

// Bounds are the thresholds of bound.go.
type Bounds struct {
	QueueBatch    float64 `yaml:"queue_batch"`
	QueueWaiting  float64 `yaml:"queue_waiting"`
	QueueTTFT     float64 `yaml:"queue_ttft"`
	KVFull        float64 `yaml:"kv_full"`
	Prefill       float64 `yaml:"prefill"`
	Host          float64 `yaml:"host"`
	Link          float64 `yaml:"link"`
	Communication float64 `yaml:"communication"`
	Memory        float64 `yaml:"memory"`
	Compute       float64 `yaml:"compute"`
}

// Limits are from when on a lever is listed.
type Limits struct {
	KVBytes        float64 `yaml:"kv_bytes"`
	BF16Bytes      float64 `yaml:"bf16_bytes"`
	HostGap        float64 `yaml:"host_gap"`
	Unexplained    float64 `yaml:"unexplained"`
	Drafted        int     `yaml:"drafted"`
	SpeculateBelow float64 `yaml:"speculate_below"`
	LeastUnlock    float64 `yaml:"least_unlock"`
}

// Regimes are the cells that a focus looks at.
type Regimes struct {
	LatencyMax    int64 `yaml:"latency_max_concurrency"`
	ThroughputMin int64 `yaml:"throughput_min_concurrency"`
}

// A Gate is what proving a lever takes.
type Gate struct {
	Trials int     `yaml:"trials"`
	LoadS  float64 `yaml:"load_s"` // to load a model, which no measurement tells
}

// A Tried lever, as someone measured it.
type Tried struct {
	Lever    string  `yaml:"lever" json:"lever"`
	Config   string  `yaml:"config" json:"config,omitempty"` // "" is all
	Ratio    float64 `yaml:"ratio" json:"ratio"`             // the gain: 1.1 is 10 % better
	Low      float64 `yaml:"low" json:"low"`                 // of its 95 % interval
	High     float64 `yaml:"high" json:"high"`
	Trials   int     `yaml:"trials" json:"trials"`
	Evidence string  `yaml:"evidence" json:"evidence"` // where it was measured
	Why      string  `yaml:"why" json:"why"`           // it gave that
}

// ParseConfig reads the project's thresholds with a file of one's own laid over
// them; own may be nil.
func ParseConfig(file string, own []byte) (*Config, error) {
	tree, err := yaml.Parse(configs.FrontierFile, configs.Frontier())
	if err != nil {
		return nil, err
	}
	if own != nil {
		over, err := yaml.Parse(file, own)
		if err != nil {
			return nil, err
		}
		tree = over.Merged(tree)
	}
	var c Config
	if err := tree.Decode(&c); err != nil {
		return nil, err
	}
	return &c, c.check(file)
}

func (c *Config) check(file string) error {
	if c.Schema != "frontier/v1" {
		return fmt.Errorf("%s: schema %q is not %q", file, c.Schema, "frontier/v1")
	}
	for name, r := range c.Risks {
		if !slices.Contains(risks, name) || !(r > 0) {
			return fmt.Errorf("%s: risks.%s is %g: risks are %v, above zero", file, name, r, risks)
		}
	}
	if c.Gate.Trials < 1 || c.Gate.LoadS < 0 || !(c.Levers.LeastUnlock >= 1) {
		return fmt.Errorf("%s: a gate has one trial and more, a load_s of zero and more; least_unlock is 1 and more", file)
	}
	for i, t := range c.Tried {
		switch {
		case !slices.Contains(leverIDs(), t.Lever):
			return fmt.Errorf("%s: tried[%d]: there is no lever %q (known: %v)", file, i, t.Lever, leverIDs())
		case !(t.Low > 0) || t.Low > t.Ratio || t.Ratio > t.High || t.Trials < 1:
			return fmt.Errorf("%s: tried[%d]: %s: want 0 < low <= ratio <= high, and trials", file, i, t.Lever)
		case t.Evidence == "" || t.Why == "":
			return fmt.Errorf("%s: tried[%d]: %s: evidence and why stand with every lever that was tried", file, i, t.Lever)
		}
	}
	return nil
}

// What a change risks, the cheap ones first.
var risks = []string{"flag", "image", "requant", "topology", "kernel"}
