package perf

import (
	"encoding/json"
	"strings"
	"testing"
)

func measurementJSON(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(atlasMeasurement())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadMeasurement(t *testing.T) {
	good := measurementJSON(t)
	m, err := ReadMeasurement([]byte(good))
	if err != nil || m.Asked.Concurrency != 16 {
		t.Fatalf("a good measurement: %v", err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"another schema":    {`"measurement/v1"`, `"measurement/v9"`, `field schema is "measurement/v9"`},
		"no simulated flag": {`"simulated":true,`, ``, "field simulated is missing"},
		"null setting":      {`"setting":{`, `"setting":null,"x":{`, "field setting is missing"},
		"unknown status":    {`"status":"FULL"`, `"status":"fine"`, `field status is "fine"`},
		"text for number":   {`"requests":60`, `"requests":"60"`, "field summary.requests: a JSON string does not fit"},
		"negative rate":     {`"output_throughput_tps":150`, `"output_throughput_tps":-150`, "field summary.output_throughput_tps is below zero"},
		"negative steady":   {`"output_throughput_tps":200`, `"output_throughput_tps":-1`, "field steady.output_throughput_tps is below zero"},
		"unordered":         {`"p50":80`, `"p50":8000`, "field summary.ttft_ms: min, p50"},
		"window backwards":  {`"from_ns":5000000000`, `"from_ns":50000000000`, "field window"},
		"year":              {`"start":"2026`, `"start":"0026`, "field start"},
		"huge number":       {`"duration_s":20`, `"duration_s":1e999`, "field summary.duration_s"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if text == good {
			t.Fatalf("%s: %q is not in the measurement", name, c.from)
		}
		if _, err := ReadMeasurement([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q in it", name, err, c.want)
		}
	}
	for _, text := range []string{"", "null", "[]", "{}", `"x"`, "{", good + "x"} {
		if _, err := ReadMeasurement([]byte(text)); err == nil {
			t.Errorf("%.20q is read as a measurement", text)
		}
	}
}

// Whatever is read becomes a row that can be written and read back; whatever
// is refused is refused with an error, and nothing panics.
func FuzzReadMeasurement(f *testing.F) {
	f.Add([]byte(measurementJSON(f)))
	for _, text := range []string{"{}", "null", `{"schema":"measurement/v1","simulated":1}`, `{"schema":"measurement/v1","status":"FULL","simulated":true,"setting":{"quant_map":"{\"a\":1e999}","tp":"\ufffd"},"driver":{},"asked":{},"summary":{"ttft_ms":{"n":1,"p50":null}}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMeasurement(data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "measurement: ") {
				t.Fatalf("the error does not say what was read: %v", err)
			}
			return
		}
		rows := []Row{RowOf(cellOf("1", "1"), m)}
		rows = append(rows, MeanRows(rows)...)
		text, err := EncodeRows(Atlas(), rows)
		if err != nil {
			t.Fatalf("a measurement that was read cannot be written: %v", err)
		}
		if _, err := DecodeRows(Atlas(), text); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

// Rows that can be read are canonical after one writing.
func FuzzDecodeRows(f *testing.F) {
	row := RowOf(cellOf("1", "1"), atlasMeasurement())
	text, err := EncodeRows(Atlas(), []Row{row})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, s := range []string{`{"schema":"atlas_v1","rows":[null,{}]}`, `{"schema":"atlas_v1","rows":[{"trial":9223372036854775807,"tp":1e3,"axes":[1e400],"doubts":[""],"started_at":"2026-11-23T10:00:00.000000Z"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := DecodeRows(Atlas(), data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rows of atlas_v1: ") {
				t.Fatalf("the error does not say what was read: %v", err)
			}
			return
		}
		once, err := EncodeRows(Atlas(), rows)
		if err != nil {
			t.Fatalf("rows that were read cannot be written: %v", err)
		}
		again, err := DecodeRows(Atlas(), once)
		if err != nil {
			t.Fatalf("rows that were written cannot be read: %v", err)
		}
		if twice, err := EncodeRows(Atlas(), again); err != nil || string(twice) != string(once) {
			t.Fatalf("writing again gives other bytes (%v):\n%s\n%s", err, once, twice)
		}
		MeanRows(rows)
	})
}
