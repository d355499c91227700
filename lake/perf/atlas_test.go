package perf

import (
	"bytes"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
)

func ptr(v float64) *float64 { return &v }

func distOf(v float64) *Dist {
	return &Dist{N: 4, Mean: v, Std: 1, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
}

// atlasMeasurement has numbers that are easy to work with by hand.
func atlasMeasurement() *Measurement {
	start := time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.UTC)
	return &Measurement{
		Schema: MeasurementSchema, Status: Full, Simulated: true, Start: start, End: start.Add(20 * time.Second),
		Setting: Setting{"model": "m", "tp": "4", "pp": "1", "dp": "2", "quant": Unknown, "enforce_eager": "false", "novel_flag": "on", "max_num_seqs": "many"},
		Driver:  Driver{Name: "native", Version: "1", Command: []string{"a", "b"}},
		Asked:   Workload{API: "chat", Concurrency: 16, Arrival: "closed", NumPrompts: 64, ISL: 100, OSL: 50, Dataset: "synthetic", Seed: 7, TTFTSLOms: 500},
		Summary: Summary{
			DurationS: 20, Requests: 60, Errors: 4, InputTokens: 6000, OutputTokens: 3000, RequestThroughput: ptr(3), OutputThroughput: ptr(150), TotalThroughput: ptr(450),
			PerUserThroughput: ptr(12), TTFT: distOf(80), TPOT: distOf(90), OSL: distOf(45),
		},
		Steady: &Summary{DurationS: 10, Requests: 40, RequestThroughput: ptr(4), OutputThroughput: ptr(200), TotalThroughput: ptr(600), PerUserThroughput: ptr(11), TTFT: distOf(88), TPOT: distOf(95)},
		Window: &Window{FromNS: 5e9, ToNS: 15e9, Method: "all streams busy", Share: 0.625},
	}
}

func origin(cell ...Coord) Origin {
	return Origin{Cell: cell, Source: "measurement.json", Artifacts: map[string]digest.Digest{"measurement.json": digest.Of([]byte(CellID(cell)))}}
}

func cellOf(c, trial string) Origin {
	return origin(Coord{"config", "a"}, Coord{"concurrency", c}, Coord{"trial", trial})
}

func TestSchemas(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for _, s := range Schemas() {
		for _, c := range s.Columns {
			if !name.MatchString(c.Name) || c.Doc == "" || !strings.HasSuffix(c.Doc, ".") {
				t.Errorf("%s.%s has a bad name or no sentence that says what it is", s.Name, c.Name)
			}
		}
		if len(s.Keys()) == 0 {
			t.Errorf("%s has no key columns", s.Name)
		}
	}
	for _, want := range []string{
		"simulated", "status", "status_reason", "plot_ready", "doubts", "model", "hardware", "ceiling_key", "tp", "max_num_seqs", "isl", "osl", "concurrency",
		"request_throughput_rps", "output_tps", "output_tps_steady", "output_tps_per_gpu", "ttft_ms_p99", "itl_ms_median_steady", "e2el_ms_p95", "b_eff",
		"kv_usage_max", "pct_sol_tpot", "dcgm_dram", "frozen_digest", "trials_n", "output_tps_std", "ttft_ms_median_ci95", "command", "extra_json",
	} {
		if _, ok := Atlas().Column(want); !ok {
			t.Errorf("atlas_v1 has no column %s", want)
		}
	}
}

func TestRowOf(t *testing.T) {
	r := RowOf(cellOf("16", "2"), atlasMeasurement())
	for column, want := range map[string]float64{
		"output_tps": 150, "output_tps_steady": 200, "input_tps": 300, "input_tps_steady": 400, "headline_output_tps": 200,
		"output_tps_per_gpu": 25, "input_tps_per_gpu": 50, "total_tps_per_gpu": 75, // 8 GPUs: tp 4 * dp 2
		"error_rate": 0.0625, "osl_mismatch_pct": 10, "ttft_ms_median": 80, "headline_ttft_ms": 88, "steady_s": 10, "error_rate_steady": 0,
	} {
		if got, ok := r.Float(column); !ok || got != want {
			t.Errorf("%s = %v %t, want %v", column, got, ok, want)
		}
	}
	for column, want := range map[string]int64{"gpu_count": 8, "trial": 2, "tp": 4, "concurrency": 16, "failed": 4, "random_seed": 7, "turns": 1} {
		if got, ok := r.Int(column); !ok || got != want {
			t.Errorf("%s = %v %t, want %v", column, got, ok, want)
		}
	}
	for column, want := range map[string]string{
		"cell_id": "concurrency=16,config=a,trial=2", "config": "a", "agg": "trial", "headline_window": "steady", "bench_backend": "native",
		"slo": `{"ttft_ms":500}`, "command": `["a","b"]`, "axes": `{"concurrency":"16","config":"a","trial":"2"}`, "verdict_tier": "draft",
	} {
		if got := r.Text(column); got != want {
			t.Errorf("%s = %q, want %q", column, got, want)
		}
	}
	if want := time.Date(2026, 11, 23, 10, 0, 5, 123456000, time.UTC); !r.Time("steady_start").Equal(want) {
		t.Errorf("steady_start = %v, want %v", r.Time("steady_start"), want)
	}
	if ready, _ := r.Bool("plot_ready"); !ready {
		t.Error("a FULL cell with TTFT and throughput is not plot_ready")
	}
	if eager, ok := r.Bool("enforce_eager"); eager || !ok {
		t.Error("enforce_eager=false is not false")
	}
	if got := r.SettingOf()["novel_flag"]; got != "on" {
		t.Errorf("a field without a column is lost: %q", got)
	}
}

// What was not measured is NULL with a reason, and what was measured as zero
// is zero.
func TestNullIsNotZero(t *testing.T) {
	m := atlasMeasurement()
	m.Summary.TTFT, m.Steady.TTFT, m.Summary.Goodput = nil, nil, ptr(0)
	m.Setting["pp"] = Unknown
	r := RowOf(cellOf("16", "1"), m)
	for _, column := range []string{"ttft_ms_median", "headline_ttft_ms", "quant", "max_num_seqs", "pp", "gpu_count", "output_tps_per_gpu", "client_lag_p99_ms", "kv_usage_max", "dcgm_dram", "pct_sol_tpot", "temperature", "request_rate", "std_input_tokens"} {
		if !r.IsNull(column) {
			t.Errorf("%s was not measured and is not NULL", column)
		}
	}
	if v, ok := r.Float("goodput_rps"); !ok || v != 0 {
		t.Error("a goodput of zero is not zero")
	}
	if ready, ok := r.Bool("plot_ready"); ready || !ok {
		t.Error("a cell without TTFT is plot_ready")
	}
	absent := strings.Join(r.Absent(), "\n")
	for _, want := range []string{"quant: could not be learned", `max_num_seqs: "many" is not a whole number`, "group:client: ", "group:server: ", "group:sol: ", "group:dcgm: ", "output_tps_per_gpu: gpu_count is unknown"} {
		if !strings.Contains(absent, want) {
			t.Errorf("extra_json.absent does not say %q:\n%s", want, absent)
		}
	}
	for _, want := range []string{"max_num_seqs", "tok/s/GPU"} {
		if !slices.ContainsFunc(r.List("doubts"), func(d string) bool { return strings.Contains(d, want) }) {
			t.Errorf("no doubt about %s: %q", want, r.List("doubts"))
		}
	}
	s := NewRow(Atlas())
	s.SetFloat("output_tps", math.NaN())
	s.SetFloat("input_tps", math.Inf(1))
	if !s.IsNull("output_tps") || !s.IsNull("input_tps") {
		t.Error("NaN or an infinity is a number")
	}
}

func TestRowRefuses(t *testing.T) {
	r := NewRow(Atlas())
	for name, f := range map[string]func(){
		"an unknown column": func() { r.SetFloat("no_such", 1) },
		"a wrong type":      func() { r.SetFloat("model", 1) },
		"a wrong read":      func() { r.Float("model") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is accepted", name)
				}
			}()
			f()
		}()
	}
}

func TestGapRow(t *testing.T) {
	o := cellOf("16", "1")
	o.Gap = "failed: connection refused"
	r := RowOfGap(o)
	if r.Text("status") != string(Missing) || r.Text("status_reason") != o.Gap || !r.IsNull("simulated") || !r.IsNull("output_tps") {
		t.Errorf("a gap is %s %q, simulated NULL %t", r.Text("status"), r.Text("status_reason"), r.IsNull("simulated"))
	}
	if c, _ := r.Int("concurrency"); c != 16 {
		t.Errorf("concurrency = %d, want that of the cell", c)
	}
}

func sampleRows(t *testing.T) []Row {
	t.Helper()
	var rows []Row
	for _, c := range []string{"1", "16", "2"} {
		for _, trial := range []string{"1", "2", "3"} {
			m := atlasMeasurement()
			m.Doubts = []string{"doubt <&> \u2028 of " + c}
			rows = append(rows, RowOf(cellOf(c, trial), m))
		}
	}
	return append(rows, MeanRows(rows)...)
}

// The same rows are the same bytes and the same digest, in whatever order.
func TestEncodeIsCanonical(t *testing.T) {
	rows := sampleRows(t)
	want, err := EncodeRows(Atlas(), rows)
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := RowsDigest(Atlas(), rows)
	back, err := DecodeRows(Atlas(), want)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(10) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(back), func(i, j int) { back[i], back[j] = back[j], back[i] })
		got, err := EncodeRows(Atlas(), back)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("rows that were read and shuffled are other bytes")
		}
		if s, _ := RowsDigest(Atlas(), back); s != sum {
			t.Fatal("rows that were read and shuffled have another digest")
		}
	}
	back[0].SetTime("ingested_at", time.Unix(1e9, 0))
	if s, _ := RowsDigest(Atlas(), back); s != sum {
		t.Error("a volatile column is in the digest")
	}
	back[0].SetFloat("output_tps", 150.0000001)
	if s, _ := RowsDigest(Atlas(), back); s == sum {
		t.Error("another number has the same digest")
	}
}

// The order of the axes in a spec is not in the rows.
func TestAxisOrder(t *testing.T) {
	a := RowOf(origin(Coord{"config", "a"}, Coord{"isl", "8"}, Coord{"z", "1"}), atlasMeasurement())
	b := RowOf(Origin{Cell: []Coord{{"z", "1"}, {"isl", "8"}, {"config", "a"}}, Source: "measurement.json", Artifacts: origin(Coord{"config", "a"}, Coord{"isl", "8"}, Coord{"z", "1"}).Artifacts}, atlasMeasurement())
	x, _ := a.MarshalJSON()
	y, _ := b.MarshalJSON()
	if !bytes.Equal(x, y) {
		t.Errorf("other order of axes:\n%s\n%s", x, y)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"schema":"atlas_v1","rows":[{"no_such":1}]}`:        `row 1: atlas_v1 has no column "no_such"`,
		`{"schema":"atlas_v1","rows":[{},{"tp":"8"}]}`:        "row 2: column tp is BIGINT, not 8",
		`{"schema":"atlas_v1","rows":[{"tp":1.5}]}`:           "column tp is BIGINT",
		`{"schema":"atlas_v1","rows":[{"started_at":"x"}]}`:   "column started_at is TIMESTAMP",
		`{"schema":"atlas_v2","rows":[]}`:                     `the schema is "atlas_v2"`,
		`[`:                                                   "unexpected end",
		`{"schema":"atlas_v1","rows":[{"axes":{"a":1e999}}]}`: "1e999",
	} {
		if _, err := DecodeRows(Atlas(), []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", text, err, want)
		}
	}
}

func trialRow(trial string, tps float64, change func(*Measurement)) Row {
	m := atlasMeasurement()
	m.Steady, m.Window = nil, nil
	m.Summary.OutputThroughput = ptr(tps)
	m.Setting["random_seed"] = trial
	if change != nil {
		change(m)
	}
	return RowOf(cellOf("16", trial), m)
}

func TestMeanRows(t *testing.T) {
	rows := []Row{trialRow("1", 100, nil), trialRow("2", 120, nil), trialRow("3", 140, nil)}
	means := MeanRows(rows)
	if len(means) != 1 {
		t.Fatalf("%d means, want 1", len(means))
	}
	m := means[0]
	for column, want := range map[string]float64{
		"output_tps": 120, "output_tps_std": 20, "output_tps_ci95": 49.68, // 4.3027 * 20 / sqrt 3
		"output_tps_per_gpu": 15, "output_tps_per_gpu_std": 2.5, "ttft_ms_median": 80, "ttft_ms_median_std": 0,
	} {
		if got, ok := m.Float(column); !ok || math.Abs(got-want) > 0.005 {
			t.Errorf("%s = %v %t, want %v", column, got, ok, want)
		}
	}
	n, _ := m.Int("trials_n")
	done, _ := m.Int("completed")
	if n != 3 || done != 180 || m.Text("agg") != "mean" || m.Text("cell_id") != "concurrency=16,config=a" || m.Text("status") != string(Full) || !m.IsNull("trial") {
		t.Errorf("mean of %d trials, %d requests: %s %s %s", n, done, m.Text("agg"), m.Text("cell_id"), m.Text("status"))
	}
	if s := m.SettingOf(); s["model"] != "m" || s["random_seed"] != "" || !m.IsNull("random_seed") {
		t.Errorf("the setting of a mean is what its trials share, got %v", s)
	}
	if !m.IsNull("output_tps_steady") || !m.IsNull("goodput_rps_std") {
		t.Error("a mean of what was not measured is not NULL")
	}
}

func TestMeanNeverMixes(t *testing.T) {
	other := func(m *Measurement) { m.Setting["tp"] = "8" }
	partial := func(m *Measurement) { m.Status = Partial }
	noTTFT := func(m *Measurement) { m.Summary.TTFT = nil }
	rows := []Row{trialRow("1", 100, nil), trialRow("2", 300, other), trialRow("3", 900, partial), trialRow("4", 200, noTTFT)}
	means := MeanRows(rows)
	if len(means) != 2 {
		t.Fatalf("%d means, want one for each setting", len(means))
	}
	var of100, of300 Row
	for _, m := range means {
		if tp, _ := m.Int("tp"); tp == 8 {
			of300 = m
		} else {
			of100 = m
		}
	}
	if v, _ := of300.Float("output_tps"); v != 300 || !of300.IsNull("output_tps_std") {
		t.Errorf("mean of one trial is %v, with a deviation %t", v, !of300.IsNull("output_tps_std"))
	}
	if v, _ := of100.Float("output_tps"); v != 150 || of100.Text("status") != string(Partial) {
		t.Errorf("mean of trials 1 and 4 is %v %s, want 150 PARTIAL", v, of100.Text("status"))
	}
	if ready, _ := of100.Bool("plot_ready"); ready || !of100.IsNull("ttft_ms_median") {
		t.Error("a TTFT that one of two trials lacks has a mean")
	}
	if !strings.Contains(strings.Join(of100.Absent(), "\n"), "ttft_ms_median: only 1 of 2 trials have it") {
		t.Errorf("no reason for the missing mean: %q", of100.Absent())
	}
	for _, m := range means {
		if !slices.ContainsFunc(m.List("doubts"), func(d string) bool { return strings.Contains(d, "tp differ") }) {
			t.Errorf("no doubt names the field that differs: %q", m.List("doubts"))
		}
	}
}
