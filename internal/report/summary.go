package report

import (
	"bytes"
	"fmt"
	"strings"

	"pipeline/internal/sol"
)

// summary is sol-summary.md: the Speed of Light of the workload in a text that
// can be pasted anywhere, ending with what to try next.
func (v *view) summary() []byte {
	var b bytes.Buffer
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("# Speed of Light: %s\n", v.in.Title)
	if v.status.Simulated {
		line("**SIMULATED.** At least one row was measured against a simulated endpoint, and says nothing of hardware.\n")
	}
	line("%s\n", v.when())
	p := v.sol
	if p == nil {
		for _, page := range v.status.Pages {
			if page.ID == "4" {
				line("No share of Speed of Light: %s. %s.\n", page.Why, page.HowToGet)
			}
		}
	} else {
		v.summaryTables(line, p)
	}
	line("## Next lever\n")
	if next := v.nextLever(); next != "" {
		line("%s", next)
	} else {
		line("Not ranked: the atlas brought no frontier.json.")
	}
	return b.Bytes()
}

func (v *view) summaryTables(line func(string, ...any), p *page4) {
	line("## Workload\n")
	line("| configuration | highest output tok/s/GPU | ceiling | %%SoL | %% of achievable | GB/token | ceilings | rigor | n | shape |")
	line("|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range p.Workload {
		line("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", w.Config, w.Measured, w.Ceiling, w.Share, w.Achievable, w.Footprint, w.Key, w.Rigor, w.N, w.Shape)
	}
	line("\n## Cells\n")
	line("| shape | B effective | TPOT ms | floor ms | tok/s/GPU | ceiling decode | ceiling with prefill | %%SoL TPOT | %%SoL decode | %%SoL with prefill | %%SoL TTFT | GB/token | bound | rigor |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range p.Rows {
		line("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", r.Shape, r.Batch, r.TPOT, r.TPOTFloor, r.PerGPU, r.Decode, r.Serving,
			r.ShareTPOT, r.ShareDecode, r.ShareServing, r.ShareTTFT, r.Footprint, r.Bound, r.Rigor)
	}
	line("")
	if len(p.Ceilings) > 0 {
		line("Ceilings: %s (nominal, dense, of one GPU).\n", strings.Join(p.Ceilings, "; "))
	}
	if len(p.Achieved) > 0 {
		line("Achievable: %s.\n", strings.Join(p.Achieved, "; "))
	}
	for _, w := range p.Withheld {
		line("Withheld: %s\n", w)
	}
	line("What every share leaves out:\n")
	for _, c := range sol.Caveats() {
		line("- %s", c)
	}
	line("")
}
