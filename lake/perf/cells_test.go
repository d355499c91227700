package perf

import (
	"bytes"
	"strings"
	"testing"
)

func TestCells(t *testing.T) {
	var b bytes.Buffer
	m := atlasMeasurement()
	for _, concurrency := range []string{"4", "8"} {
		if err := WriteCell(&b, []Coord{{"concurrency", concurrency}, {"config", "a"}}, m); err != nil {
			t.Fatal(err)
		}
	}
	text := b.String()
	cells, err := ReadCells(strings.NewReader(text))
	if err != nil || len(cells) != 2 {
		t.Fatal(cells, err)
	}
	if id := CellID(cells[1].Cell); id != "concurrency=8,config=a" || cells[1].Measurement.Asked.Concurrency != 16 || cells[0].Digest != cells[1].Digest {
		t.Errorf("%s %+v", id, cells[1])
	}
	for in, want := range map[string]string{
		"":                                    "it has no line",
		text[:len(text)-1]:                    "line 2 is cut off",
		text + "{}\n":                         "line 3: measurement: ",
		text + "[]\n":                         "line 3: it is a JSON array, not an object",
		strings.Replace(text, "FULL", "x", 1): `line 1: measurement: field status is "x"`,
	} {
		if _, err := ReadCells(strings.NewReader(in)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What a report does not tell is NULL, with the reason, and never a zero.
func TestRowOfAReport(t *testing.T) {
	d := UntoldDist(Untold)
	d.P50 = 20
	m := Measurement{
		Schema: MeasurementSchema, Status: Full, Setting: Setting{"tp": "8"}, Source: &Source{Format: "csv", Path: "a.csv"},
		Summary: Summary{Requests: 10, Errors: Untold, InputTokens: Untold, OutputTokens: Untold, TTFT: d},
	}
	var b bytes.Buffer
	if err := WriteCell(&b, nil, &m); err != nil {
		t.Fatal(err)
	}
	cells, err := ReadCells(&b)
	if err != nil {
		t.Fatal(err)
	}
	row := RowOf(Origin{}, cells[0].Measurement)
	if v, ok := row.Float("ttft_ms_median"); !ok || v != 20 {
		t.Errorf("ttft_ms_median is %v", v)
	}
	if n, ok := row.Int("completed"); !ok || n != 10 {
		t.Errorf("completed is %v", n)
	}
	absent := strings.Join(row.Absent(), "\n")
	for _, column := range []string{"failed", "error_rate", "input_tokens", "output_tokens", "ttft_ms_mean", "ttft_ms_p99", "ttft_ms_std", "duration_s", "request_throughput_rps"} {
		if !row.IsNull(column) {
			t.Errorf("%s is not NULL", column)
		}
		if !strings.Contains(absent, column+": the report does not tell it") {
			t.Errorf("%s has no reason in\n%s", column, absent)
		}
	}
	if !strings.Contains(absent, "tpot_ms_*: the report does not tell it") {
		t.Errorf("no reason for the TPOT in\n%s", absent)
	}
}

func FuzzReadCells(f *testing.F) {
	var b bytes.Buffer
	m := atlasMeasurement()
	if err := WriteCell(&b, []Coord{{"a", "1"}}, m); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{\"cell\":null,\"measurement\":{}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cells, err := ReadCells(bytes.NewReader(text))
		if (err == nil) != (len(cells) > 0) {
			t.Fatalf("%d cells and %v", len(cells), err)
		}
		for _, c := range cells {
			RowOf(Origin{Cell: c.Cell}, c.Measurement)
		}
	})
}
