package perf

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// What a verdict on a level needs. docs/verdict.md says where each is from.
const (
	LevelTrials    = 3    // FULL trials in one setting on the same GPUs
	CompareTrials  = 4    // on each side of "A beats B"
	MinSteadyS     = 60.0 // seconds of the steady window
	MaxOSLMismatch = 10.0 // percent
	MonotoneTPOT   = 0.8  // of the TPOT at a lower concurrency: below it, a TPOT at a higher one is not physical
)

// A Gate is one condition of a verdict.
type Gate struct {
	Code string
	Rule string // in a sentence
	// check returns what fails for a cell, and what the gate had nothing to go
	// by. Nil for the gates of whole campaigns and of claims.
	check func(c *Cell, all []Cell) (refusals []Refusal, unchecked string)
}

// Gates returns all gates, by code.
func Gates() []Gate {
	return []Gate{
		{"V00", "It was measured on hardware, and not on a simulation.", gateHardware},
		{"V01", "A level has three FULL trials in one setting, and \"A beats B\" four on each side.", gateTrials},
		{"V02", "All trials ran on one node and the same GPUs.", gatePlace},
		{"V03", "The metric varies little over trials: output tok/s by 5 %, TPOT by 3 %, TTFT by 10 % at most (CV).", gateVariation},
		{"V04", "A claim cites a metric that nothing else sets: median TPOT or ITL for decode latency.", nil},
		{"V05", "There are 2 prompts a stream or more, and a steady window of 60 s or more with 60 % of the requests.", gateWindow},
		{"V06", "Output throughput is flat through the steady window.", gateSteady},
		{"V07", "No trial that counts was throttled, hit by an XID or memory error, or shared its GPUs; an outlier that was left out for it is named.", gateDisturbed},
		{"V08", "No trial failed; in those that count at most 1 % of the requests failed, outputs are as long as asked within 10 %, and all prompts were answered.", gateErrors},
		{"V09", "A baseline is named, was measured, and runs as production would: with CUDA graphs, not eager.", nil},
		{"V10", "The context is complete: every mandatory field is known.", gateContext},
		{"V11", "The stack that ran is the stack that was declared.", gateStack},
		{"V12", "No number is above its Speed-of-Light ceiling.", gateCeiling},
		{"V13", "The prefix cache was in the state declared.", gateCache},
		{"V14", "A claim on a number format or a backend has the whole matrix behind it: every configuration at concurrency 1, 16, 64 and 256.", nil},
		{"V15", "TPOT does not fall below 0.8 of its value at a lower concurrency.", gateMonotone},
	}
}

// reviewCell passes one cell through all gates.
func reviewCell(c *Cell, all []Cell) CellReview {
	out := CellReview{Campaign: c.Campaign, Cell: c.ID, Tier: TierVerdict, Refusals: []Refusal{}, Unchecked: []string{}}
	if len(c.Trials) > 0 {
		out.Setting = c.Trials[0].Text("setting_sha256")
	}
	out.Excluded = excludedOf(c)
	for _, g := range Gates() {
		if g.check == nil {
			continue
		}
		refusals, unchecked := g.check(c, all)
		for _, f := range refusals {
			f.Code, f.Cell = g.Code, c.ID
			out.Refusals = append(out.Refusals, f)
			out.Suspect = out.Suspect || f.suspicion() && f.Metric == ""
		}
		if unchecked != "" {
			out.Unchecked = append(out.Unchecked, g.Code+": "+unchecked)
		}
	}
	if len(out.Refusals) > 0 {
		out.Tier = TierDraft
	}
	return out
}

// excludedOf names the trials of the cell's setting that are left out of its
// mean, and why.
func excludedOf(c *Cell) []string {
	out := []string{}
	for _, r := range c.Others {
		if excluded, _ := r.Bool("excluded"); excluded && (len(c.Trials) == 0 || r.group() == c.Trials[0].group()) {
			out = append(out, trialName(r)+": "+r.Text("outlier"))
		}
	}
	return out
}

// suspicion reports whether a refusal says that a number is not physical.
func (f Refusal) suspicion() bool { return f.Code == "V12" || f.Code == "V15" }

// suspect says why a metric of the cell is not physical; "" if it may be.
func (r CellReview) suspect(m Metric) string {
	for _, f := range r.Refusals {
		if f.suspicion() && (f.Metric == "" || f.Metric == m.Column) {
			return f.Code + ": " + f.Text
		}
	}
	return ""
}

func refuse(do, format string, args ...any) []Refusal {
	return []Refusal{{Text: fmt.Sprintf(format, args...), Do: do}}
}

func gateHardware(c *Cell, _ []Cell) ([]Refusal, string) {
	for _, r := range slices.Concat(c.Trials, c.Others) {
		if s, _ := r.Bool("simulated"); s {
			return refuse("measure it on hardware: endpoint.kind url or kubernetes", "the endpoint is simulated: its numbers say nothing of hardware"), ""
		}
	}
	return nil, ""
}

func gateTrials(c *Cell, _ []Cell) ([]Refusal, string) {
	if n := len(c.Trials); n < LevelTrials {
		return refuse("give the axis trial more values, on the same node: what is measured is reused",
			"%s (need %d on the same GPUs)", plural(n, "FULL trial"), LevelTrials), ""
	}
	return nil, ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// gatePlace looks at all FULL trials of the cell: those on another node are of
// another setting, and so not among its Trials.
func gatePlace(c *Cell, _ []Cell) ([]Refusal, string) {
	if len(c.Trials) == 0 {
		return nil, ""
	}
	where := map[string][]string{} // trials by place
	for _, r := range slices.Concat(c.Trials, c.Others) {
		if r.Text("status") == string(Full) {
			where[place(r)] = append(where[place(r)], trialName(r))
		}
	}
	if _, unknown := where[""]; unknown {
		return refuse("let init declare it: declare: {node: gpu-07, gpu_uuids: 'GPU-…,GPU-…'}",
			"the node is unknown, so it can't be shown that the trials ran on the same GPUs"), ""
	}
	if len(where) < 2 {
		return nil, ""
	}
	places := slices.SortedFunc(maps.Keys(where), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(where[b]), len(where[a])), cmp.Compare(a, b))
	})
	var parts, again []string
	for i, p := range places {
		parts = append(parts, fmt.Sprintf("%s (%d)", p, len(where[p])))
		if i > 0 {
			again = append(again, where[p]...)
		}
	}
	slices.Sort(again)
	return refuse(fmt.Sprintf("re-run %s on %s", strings.Join(again, ", "), places[0]),
		"trials ran on %s; GPUs of one kind differ by 8 %% on average (Sinha et al. 2022, arXiv 2208.11035)", strings.Join(parts, " and ")), ""
}

// place names the node of a row, and its GPUs if they are known.
func place(r Row) string {
	node, gpus := r.Text("node"), strings.Join(r.List("gpu_uuids"), ",")
	if node != "" && gpus != "" {
		return node + " " + gpus
	}
	return node
}

func gateVariation(c *Cell, _ []Cell) ([]Refusal, string) {
	var out []Refusal
	var missing []string
	for _, m := range LevelMetrics() {
		s, ok := c.Sample(m)
		if !ok {
			missing = append(missing, m.Name)
		}
		if !ok || s.N() < 2 {
			continue
		}
		if cv := s.CV(); cv > m.MaxCV || math.IsNaN(cv) {
			f := refuse("find what varies (clocks, neighbours, cache), or run longer trials; averaging more of them does not mend it",
				"%s has a CV of %.1f %% over %d trials (limit %.0f %%)", m.Name, 100*cv, s.N(), 100*m.MaxCV)
			f[0].Metric = m.Column
			out = append(out, f...)
		}
	}
	if len(missing) > 0 && len(c.Trials) > 0 {
		return out, "not every trial has " + strings.Join(missing, " and ")
	}
	return out, ""
}

func gateWindow(c *Cell, _ []Cell) ([]Refusal, string) {
	if len(c.Trials) == 0 {
		return nil, ""
	}
	var why []string
	longest, share, told := math.Inf(1), math.Inf(1), true
	for _, r := range c.Trials {
		s, ok := r.Float("steady_s")
		if r.Text("headline_window") != "steady" || !ok {
			s = 0
		}
		longest = min(longest, s)
		part, ok := r.Float("steady_share")
		if told = told && ok; ok {
			share = min(share, part)
		}
	}
	prompts, okP := c.Trials[0].Int("num_prompts")
	if n := c.concurrency(); okP && n > 0 && prompts < RampFactor*n {
		why = append(why, fmt.Sprintf("num_prompts %d < %dc = %d", prompts, RampFactor, RampFactor*n))
	}
	switch {
	case longest == 0:
		why = append(why, "there is no steady window")
	case longest < MinSteadyS:
		why = append(why, fmt.Sprintf("steady window %.3g s < %.0f s", longest, MinSteadyS))
	}
	switch {
	case longest > 0 && !told:
		why = append(why, "what share of the requests ended inside the steady window is not known")
	case share < SteadyShare:
		why = append(why, fmt.Sprintf("%.0f %% of the requests ended inside the steady window (need %.0f %%)", 100*share, 100*SteadyShare))
	}
	if len(why) == 0 {
		return nil, ""
	}
	return refuse("ask more prompts: 10 a stream or more, and enough for a minute", "%s", strings.Join(why, "; ")), ""
}

func gateSteady(c *Cell, _ []Cell) ([]Refusal, string) {
	classes := map[string][]string{}
	for _, r := range c.Trials {
		classes[r.Text("steady_class")] = append(classes[r.Text("steady_class")], trialName(r))
	}
	delete(classes, Flat)
	if len(classes) == 0 {
		return nil, ""
	}
	var why []string
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		text := ""
		if len(classes[class]) < len(c.Trials) {
			text = strings.Join(classes[class], ", ") + ": "
		}
		switch class {
		case "":
			text += "whether throughput was steady is not known: the measurement does not tell"
		case Short:
			text += fmt.Sprintf("the steady window is shorter than %d s, too short to tell whether throughput was steady", SteadySeconds)
		case Drift:
			text += "output throughput still rose (drift)"
		case Slowdown:
			text += "output throughput fell (slowdown)"
		default:
			text += "output throughput has no one level (" + class + ")"
		}
		why = append(why, text)
	}
	return refuse("warm up longer, or run longer; the doubts of the trials say from when to when", "%s", strings.Join(why, "; ")), ""
}

func gateDisturbed(c *Cell, _ []Cell) ([]Refusal, string) {
	var why []string
	grounded := true
	for _, r := range c.Trials {
		if cause := physicalCause(r); cause != "" {
			why = append(why, trialName(r)+": "+cause)
		}
		grounded = grounded && clocksTold(r)
	}
	if len(why) > 0 {
		return refuse("run these trials again, with the GPUs to themselves and at their clocks", "%s", strings.Join(why, "; ")), ""
	}
	if !grounded && len(c.Trials) > 0 {
		return nil, "no DCGM samples tell of throttling, XIDs or neighbours"
	}
	return nil, ""
}

// clocksTold reports whether samples say why clocks were what they were: a
// report of DCGM may have been made, and its check of them not.
func clocksTold(r Row) bool {
	if !r.IsNull("throttle_mask") {
		return true
	}
	dcgm, _ := r.Extra()["dcgm"].(map[string]any)
	checks, _ := dcgm["checks"].(map[string]any)
	status, ran := checks["DC12"].(string)
	return ran && status != notChecked
}

// notChecked is the status of a check of DCGM samples that had none to go by.
const notChecked = "not checked"

func gateErrors(c *Cell, _ []Cell) ([]Refusal, string) {
	var why, missing []string
	for _, r := range c.Others {
		if r.Text("status") != string(Full) {
			why = append(why, fmt.Sprintf("%s is %s: %s", trialName(r), r.Text("status"), cmp.Or(r.Text("status_reason"), "no reason was given")))
		}
	}
	for _, r := range c.Trials {
		share, okE := r.Float("error_rate")
		if share > MaxErrorShare {
			why = append(why, fmt.Sprintf("%s: %.1f %% of the requests failed (limit %.0f %%)", trialName(r), 100*share, 100*MaxErrorShare))
		}
		differ, okL := r.Float("osl_mismatch_pct")
		if differ > MaxOSLMismatch {
			why = append(why, fmt.Sprintf("%s: outputs are %.0f %% longer or shorter than asked (limit %.0f %%)", trialName(r), differ, MaxOSLMismatch))
		}
		asked, okA := r.Int("num_prompts")
		completed, okC := r.Int("completed")
		failed, _ := r.Int("failed")
		if okA && okC && completed+failed < asked {
			why = append(why, fmt.Sprintf("%s: %d of %d prompts were sent", trialName(r), completed+failed, asked))
		}
		switch {
		case !okE && !okC:
			why = append(why, trialName(r)+": whether requests failed is not known")
		case !okE:
			missing = unique(missing, []string{"what share of the requests failed"})
		case !okC || !okA:
			missing = unique(missing, []string{"whether all prompts were answered"})
		}
		if !okL {
			missing = unique(missing, []string{"whether outputs are as long as asked"})
		}
	}
	unchecked := ""
	if len(missing) > 0 {
		unchecked = "nothing tells " + strings.Join(missing, ", nor ")
	}
	if len(why) == 0 {
		return nil, unchecked
	}
	return refuse("mend the cause and run again: what is FULL is reused", "%s", strings.Join(why, "; ")), unchecked
}

func gateContext(c *Cell, _ []Cell) ([]Refusal, string) {
	if len(c.Trials) == 0 {
		return nil, ""
	}
	missing := []string{}
	for _, r := range c.Trials {
		missing = unique(missing, MissingContext(r))
	}
	if len(missing) == 0 {
		return nil, ""
	}
	return refuse("declare in init what the endpoint does not tell", "the context lacks %s", strings.Join(missing, ", ")), ""
}

var (
	versionRE = regexp.MustCompile(`^[vV]?(\d+(?:\.\d+)*(?:(?:rc|\.post|a|b)\d+)?)`)
	tagRE     = regexp.MustCompile(`:[vV]?(\d+\.\d+[^@/]*)`)
)

// release is the public part of a version: 0.15.1 of v0.15.1+cu129.
func release(version string) string {
	if m := versionRE.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return version
}

func gateStack(c *Cell, _ []Cell) ([]Refusal, string) {
	var why []string
	told := true
	for _, r := range c.Trials {
		declared, observed, image, engine := r.Text("engine_version"), r.Text("engine_version_observed"), r.Text("image"), r.Text("engine")
		if observed == "" {
			told = false
		} else {
			if declared != "" && release(declared) != release(observed) {
				why = append(why, fmt.Sprintf("declared %s %s, the server says %s", engine, declared, observed))
			}
			if m := tagRE.FindStringSubmatch(image); m != nil && engine != "" && strings.Contains(image, engine) && release(m[1]) != release(observed) {
				why = append(why, fmt.Sprintf("declared image %s, the server says %s", image, observed))
			}
		}
		for _, d := range r.List("doubts") {
			if text, ok := strings.CutPrefix(d, "mismatch: "); ok {
				why = append(why, text)
			}
		}
	}
	if len(why) > 0 {
		return refuse("correct the declaration, or the server", "%s", strings.Join(unique(why), "; ")), ""
	}
	if !told && len(c.Trials) > 0 {
		return nil, "the server did not tell its version"
	}
	return nil, ""
}

const fixModel = "check the model's shape, the number formats, the parallelism and the batch"

func gateCeiling(c *Cell, _ []Cell) ([]Refusal, string) {
	var why []string
	known := false
	ttft := ttftBelowFloor(c)
	// Shares of the ceiling with prefill and decode one after the other are not
	// among them: steps that share both may pass it.
	for _, column := range []string{"pct_sol_tpot", "pct_sol_tps_decode"} {
		worst := math.Inf(-1)
		for _, r := range c.Trials {
			if v, ok := r.Float(column); ok {
				worst = max(worst, v)
			}
		}
		known = known || !math.IsInf(worst, -1)
		if worst > 100 {
			why = append(why, fmt.Sprintf("%s %.0f %%", column, worst))
		}
	}
	for _, r := range c.Trials { // shares above the ceiling may have been taken back already
		for _, n := range r.List("sol_notes") {
			if strings.HasPrefix(n, "SOL_OVER: ") {
				return append(refuse(fixModel, "%s", n), ttft...), ""
			}
		}
	}
	switch {
	case !known && len(c.Trials) > 0:
		return ttft, "no share of Speed of Light is known"
	case len(why) == 0:
		return ttft, ""
	}
	batch := ""
	if b, ok := c.mean("b_eff"); ok {
		batch = fmt.Sprintf(" at B_eff=%.0f", b)
	}
	return append(refuse(fixModel,
		"SOL_OVER: %s of the ceilings of %s%s; footprint, quant map or batch is wrong, and %%SoL is withheld",
		strings.Join(why, ", "), cmp.Or(c.Trials[0].Text("ceiling_key"), "an unknown GPU"), batch), ttft...), ""
}

// ttftBelowFloor refuses the TTFT alone: a part of the input may have been in a
// cache that nobody told of, which says nothing of the decode.
func ttftBelowFloor(c *Cell) []Refusal {
	for _, r := range c.Trials {
		text := ""
		if v, ok := r.Float("pct_sol_ttft"); ok && v > 100 {
			text = fmt.Sprintf("SOL_OVER_TTFT: pct_sol_ttft %.0f %%: more of the input was cached than is known, or shape and quant are wrong", v)
		}
		for _, n := range r.List("sol_notes") {
			if strings.HasPrefix(n, "SOL_OVER_TTFT: ") {
				text = n
			}
		}
		if text != "" {
			f := refuse("tell the hits in the prefix cache, or "+fixModel, "%s", text)
			f[0].Metric = "headline_ttft_ms"
			return f
		}
	}
	return nil
}

func gateCache(c *Cell, _ []Cell) ([]Refusal, string) {
	var why []string
	unknown := false
	for _, r := range c.Trials {
		hit, ok := r.Float("prefix_hit_rate")
		if !ok {
			hit, ok = r.Float("client_prefix_hit_rate")
		}
		switch text := cacheMismatch(r, hit, ok); {
		case text != "":
			why = append(why, trialName(r)+": "+text)
		case !ok:
			unknown = true
		}
	}
	if len(why) > 0 {
		return refuse("cold: let the server reset its cache (VLLM_SERVER_DEV_MODE=1). warm: play the cell once before", "%s", strings.Join(why, "; ")), ""
	}
	if unknown {
		return nil, "nothing tells what was found in the prefix cache"
	}
	return nil, ""
}

// What a cache may hold. A cold one holds what prompts share, and the tokens
// of the chat template and of the block in which they end. A warm one misses
// the end of each prompt and what was evicted; one that misses more than half
// was as good as cold.
const (
	ColdHits   = 0.05 // of the input tokens
	ColdTokens = 64
	WarmHits   = 0.5
)

// cacheMismatch says how the cache was not in the state declared. What the
// driver found counts, since it knows what its prompts share; the columns tell
// that for synthetic prompts only.
func cacheMismatch(r Row, hit float64, known bool) string {
	for _, d := range r.List("doubts") {
		for _, code := range []string{"not_cold: ", "not_warm: ", "warm_unknown: "} {
			if text, ok := strings.CutPrefix(d, code); ok {
				return fmt.Sprintf("declared %s, but %s", r.Text("cache_mode"), text)
			}
		}
	}
	isl, ok := r.Float("mean_input_tokens")
	if n, asked := r.Int("isl"); asked {
		isl, ok = float64(n), true
	}
	shared, _ := r.Int("shared_prefix")
	turns, _ := r.Int("turns")
	switch mode := r.Text("cache_mode"); {
	case mode == "warm" && !known:
		return "declared warm, and nothing tells what was found in the prefix cache"
	case mode == "warm" && hit < WarmHits:
		return fmt.Sprintf("declared warm, but %.0f %% of the input tokens were in the prefix cache (need %.0f %%)", 100*hit, 100*WarmHits)
	case mode == "cold" && known && ok && r.Text("dataset") == "synthetic" && turns <= 1 && isl > 0 && hit > float64(shared)/isl+max(ColdHits, ColdTokens/isl):
		return fmt.Sprintf("declared cold, but %.0f %% of the input tokens were in the prefix cache, and the prompts share %.0f %%", 100*hit, 100*float64(shared)/isl)
	}
	return ""
}

// gateMonotone compares a closed loop with those of lower concurrency in the
// same configuration: more streams never make each of them faster.
func gateMonotone(c *Cell, all []Cell) ([]Refusal, string) {
	high, ok := c.mean("headline_tpot_ms")
	switch {
	case len(c.Trials) == 0 || c.concurrency() == 0: // more of an open loop's requests are no more streams
		return nil, ""
	case !ok:
		return nil, "not every trial has median TPOT, ms"
	}
	worst := ""
	least := MonotoneTPOT
	for i := range all {
		o := &all[i]
		if o.Config != c.Config || o.Campaign != c.Campaign || o.concurrency() == 0 || o.concurrency() >= c.concurrency() || !sameLengths(o, c) {
			continue
		}
		if low, ok := o.mean("headline_tpot_ms"); ok && low > 0 && high/low < least {
			least = high / low
			worst = fmt.Sprintf("TPOT at c=%d (%.4g ms) is %.2fx TPOT at c=%d (%.4g ms) in the same configuration: not physical for a closed loop", c.concurrency(), high, least, o.concurrency(), low)
		}
	}
	if worst == "" {
		return nil, ""
	}
	return refuse("check for a cap in the client, failed requests, or means mixed with medians", "%s; the cell is suspect", worst), ""
}

func sameLengths(a, b *Cell) bool {
	for _, column := range []string{"isl", "osl", "turns", "shared_prefix"} {
		x, okX := a.Row().Int(column)
		y, okY := b.Row().Int(column)
		if x != y || okX != okY {
			return false
		}
	}
	return a.Row().Text("dataset") == b.Row().Text("dataset")
}

// baselineRefusals is V09, of the whole campaign.
func baselineRefusals(b Baseline, own []Cell) []Refusal {
	refusal := func(do, format string, args ...any) []Refusal {
		return []Refusal{{Code: "V09", Text: fmt.Sprintf(format, args...), Do: do}}
	}
	if b.Name == "" {
		return refusal("name a configuration of this campaign, or wire a baseline step: with: {baseline: fp8-tp8}", "no baseline is named")
	}
	cells := b.cells(own)
	if len(cells) == 0 {
		return refusal("measure it, or name one that was", "the baseline %s has no FULL cell", b.Name)
	}
	var eager, unknown, simulated bool
	mode := ""
	for _, c := range cells {
		for _, r := range c.Trials {
			on, known := r.Bool("enforce_eager")
			graphs := strings.ToUpper(r.Text("cudagraph_mode"))
			if on || graphs == "NONE" || graphs == "0" {
				eager, mode = true, fmt.Sprintf("enforce_eager=%t / cudagraph_mode=%s", on, cmp.Or(r.Text("cudagraph_mode"), Unknown))
			}
			unknown = unknown || !known && graphs == ""
			s, _ := r.Bool("simulated")
			simulated = simulated || s
		}
	}
	switch {
	case eager:
		return refusal("measure the baseline as production runs it", "the baseline %s runs %s; an eager strawman is not a baseline", b.Name, mode)
	case unknown:
		return refusal("let its init declare enforce_eager and cudagraph_mode", "whether the baseline %s runs with CUDA graphs is unknown", b.Name)
	case simulated && b.Rows != nil:
		return refusal("name a baseline that was measured on hardware", "the baseline %s is simulated", b.Name)
	}
	return nil
}
