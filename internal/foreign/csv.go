package foreign

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/yaml"
	"pipeline/lake/perf"
)

// CSV is a table that people fill in: a row a run, its columns named as those
// of atlas_v1.
const CSV = "csv"

// csvStats are the statistics of a latency that a table may have.
var csvStats = []struct {
	name string
	of   func(*perf.Dist) *float64
}{
	{"mean", func(d *perf.Dist) *float64 { return &d.Mean }}, {"median", func(d *perf.Dist) *float64 { return &d.P50 }},
	{"p90", func(d *perf.Dist) *float64 { return &d.P90 }}, {"p95", func(d *perf.Dist) *float64 { return &d.P95 }},
	{"p99", func(d *perf.Dist) *float64 { return &d.P99 }}, {"std", func(d *perf.Dist) *float64 { return &d.Std }},
	{"min", func(d *perf.Dist) *float64 { return &d.Min }}, {"max", func(d *perf.Dist) *float64 { return &d.Max }},
}

var csvColumns = func() []string {
	names := []string{"config", "trial", "started_at", "ended_at", "duration_s", "completed", "failed", "input_tokens", "output_tokens",
		"request_throughput_rps", "output_tps", "total_tps", "goodput_rps", "tps_per_user_median",
		"mean_input_tokens", "std_input_tokens", "mean_output_tokens", "std_output_tokens"}
	for _, d := range []string{"ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"} {
		for _, s := range csvStats {
			names = append(names, d+"_"+s.name)
		}
	}
	return names
}()

// CSVColumns are what a table may have, apart from the fields of a Setting.
func CSVColumns() []string { return slices.Clone(csvColumns) }

// CSVTemplate is the first line of a table that has what most runs have.
func CSVTemplate() string {
	columns := []string{"config", "trial", "model", "hardware", "quant", "tp", "engine", "engine_version", "bench_backend", "bench_version",
		"concurrency", "num_prompts", "isl", "osl", "duration_s", "completed", "failed", "input_tokens", "output_tokens",
		"request_throughput_rps", "output_tps", "ttft_ms_mean", "ttft_ms_median", "ttft_ms_p99", "tpot_ms_mean", "tpot_ms_median", "tpot_ms_p99",
		"e2el_ms_mean", "e2el_ms_median", "e2el_ms_p99"}
	return strings.Join(columns, ",") + "\n"
}

func settingColumns() []string {
	return perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace)
}

// isCSVHeader reports whether a line names at least two columns of ours.
func isCSVHeader(line string) bool {
	known := 0
	for name := range strings.SplitSeq(line, ",") {
		name = strings.TrimSpace(name)
		if slices.Contains(csvColumns, name) || slices.Contains(settingColumns(), name) {
			known++
		}
	}
	return known >= 2
}

// readCSV returns a cell for each row. Lines that begin with # are comments,
// and an empty field is not told.
func readCSV(r io.Reader) ([]Cell, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxCSV+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCSV {
		return nil, fmt.Errorf("it is larger than %d MB", maxCSV>>20)
	}
	table := csv.NewReader(bytes.NewReader(text))
	table.Comment = '#'
	table.TrimLeadingSpace = true
	header, err := table.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	settings := settingColumns()
	known := slices.Concat(settings, csvColumns)
	for i, name := range header {
		header[i] = strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))
		if !slices.Contains(known, header[i]) {
			return nil, fmt.Errorf("column %d is called %.40q, which is no column of atlas_v1 that a table may have; %s", i+1, header[i],
				cmp.Or(yaml.Nearest(header[i], known), "the docs of imports list them"))
		}
		if slices.Contains(header[:i], header[i]) {
			return nil, fmt.Errorf("there are two columns called %s", header[i])
		}
	}
	var cells []Cell
	for {
		fields, err := table.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := table.FieldPos(0)
		row := csvRow{at: map[string]string{}, line: line}
		for i, name := range header {
			if v := strings.TrimSpace(fields[i]); v != "" {
				row.at[name] = v
			}
		}
		cell, err := row.cell(settings)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		cells = append(cells, cell)
	}
	if len(cells) == 0 {
		return nil, errors.New("it has a header and no row")
	}
	return cells, nil
}

// maxCSV is the most that is read of a table.
const maxCSV = 16 << 20

// csvRow is a row, by column; what is empty is not in it.
type csvRow struct {
	at   map[string]string
	line int
}

func (r csvRow) cell(settings []string) (Cell, error) {
	report := perf.Report{Format: CSV, Told: perf.Setting{}, Driver: perf.Driver{Name: r.at["bench_backend"], Version: r.at["bench_version"]}}
	for _, name := range append(slices.Clone(settings), "trial", "config") {
		if v := r.at[name]; v != "" && name != "bench_backend" && name != "bench_version" {
			report.Told[name] = v
		}
	}
	for name, to := range map[string]*time.Time{"started_at": &report.Start, "ended_at": &report.End} {
		text := r.at[name]
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return Cell{}, fmt.Errorf("column %s: %.40q is no time such as 2026-08-01T12:00:00Z", name, text)
		}
		*to = t.UTC()
	}
	if err := r.summary(&report.Summary); err != nil {
		return Cell{}, err
	}
	return Cell{Report: report, Name: fmt.Sprintf("line %d", r.line)}, nil
}

func (r csvRow) number(column string) (*float64, error) {
	text := r.at[column]
	if text == "" {
		return nil, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, fmt.Errorf("column %s: %.40q is no number", column, text)
	}
	if v < 0 {
		return nil, fmt.Errorf("column %s: %s is below zero", column, text)
	}
	return &v, nil
}

func (r csvRow) summary(s *perf.Summary) error {
	var fault error
	get := func(column string) *float64 {
		v, err := r.number(column)
		if fault == nil {
			fault = err
		}
		return v
	}
	count := func(column string) float64 {
		v := get(column)
		if v == nil {
			return perf.Untold
		}
		if *v != math.Trunc(*v) || *v > 1<<53 {
			fault = fmt.Errorf("column %s: %s is no count", column, r.at[column])
		}
		return *v
	}
	s.Requests, s.Errors = int(count("completed")), int(count("failed"))
	s.InputTokens = int64(count("input_tokens"))
	if s.OutputTokens = perf.Untold; r.at["output_tokens"] != "" {
		s.OutputTokens = count("output_tokens")
	}
	if v := get("duration_s"); v != nil {
		s.DurationS = *v
	}
	for _, column := range []string{"request_throughput_rps", "output_tps", "total_tps", "goodput_rps"} {
		*rateOf(s, column) = get(column)
	}
	s.PerUserThroughput = get("tps_per_user_median")
	for _, column := range []string{"ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"} {
		d, told := perf.UntoldDist(s.Requests), false
		for _, stat := range csvStats {
			if v := get(column + "_" + stat.name); v != nil {
				*stat.of(d), told = *v, true
			}
		}
		if told {
			*distOf(s, column) = d
		}
	}
	for column, name := range map[string]string{"input_tokens": "input_tokens", "output_tokens": "output_tokens"} {
		mean, std := get("mean_"+name), get("std_"+name)
		if mean == nil {
			continue
		}
		d := perf.UntoldDist(s.Requests)
		if d.Mean = *mean; std != nil {
			d.Std = *std
		}
		*distOf(s, column) = d
	}
	return fault
}
