package dcgm

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func beside(data []byte) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if data == nil || name != SeriesFile {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
}

func encode(t *testing.T, f *Frozen) (file, series []byte) {
	t.Helper()
	file, series, _, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return file, series
}

func full() *Frozen {
	f, _ := healthy().freeze()
	f.Measurement, f.CapturedBy = strings.Repeat("ab", 32), "pipeline 1"
	f.CapturedAt = Stamp{began.Add(2 * time.Minute)}
	f.Versions = map[string]string{"prometheus": "2.42.0", "driver": "580.105.08"}
	f.Workload = Workload{Namespace: "bench", Pods: []string{"vllm-0"}}
	f.Queries = []Query{{Field: DRAM, Name: "DCGM_FI_PROF_DRAM_ACTIVE", PromQL: `DCGM_FI_PROF_DRAM_ACTIVE{UUID=~"GPU-0|GPU-1"}[348s]`, Series: 4, Samples: 580}}
	f.Missing = []Missing{{Field: SM, Reason: "no series: \"commented out\", \\ in the counters file"}}
	return f
}

// What is written is what is read, also where the series stand beside it.
func TestFrozenRoundTrip(t *testing.T) {
	small := full()
	long := healthy()
	long.load = 600
	large, _ := long.freeze()
	for name, f := range map[string]*Frozen{"inline": small, "beside": large} {
		file, series := encode(t, f)
		if (series != nil) != (name == "beside") {
			t.Fatalf("%s: %d bytes of file, %d of series", name, len(file), len(series))
		}
		got, sum, err := ReadFrozen("x/"+FrozenFile, file, beside(series))
		if err != nil {
			t.Fatal(err)
		}
		want := *f
		want.Digest, want.SeriesSum = got.Digest, got.SeriesSum
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: read\n%+v, want\n%+v", name, got.Source, want.Source)
		}
		if !strings.HasSuffix(string(file), sum.String()+"\"}\n") {
			t.Errorf("%s: digest %s is not at the end", name, sum)
		}
		again, more := encode(t, got)
		if !bytes.Equal(again, file) || !bytes.Equal(more, series) {
			t.Errorf("%s: written again it is another file", name)
		}
		before, _ := f.Samples()
		after, err := got.Samples()
		if err != nil || !reflect.DeepEqual(before.Series(), after.Series()) {
			t.Errorf("%s: other samples (%v)", name, err)
		}
	}
}

// Every value counts, white space and comments do not.
func TestFrozenTampered(t *testing.T) {
	file, _ := encode(t, full())
	text := string(file)
	for _, c := range []struct{ old, now string }{
		{"dt_ms: \"0 500", "dt_ms: \"0 501"}, {`"v": "0`, `"v": "1`}, {"GPU-0|GPU-1", "GPU-0|GPU-2"}, {`"host": "prometheus:9090"`, `"host": "prometheus:9091"`},
		{`"skew_s": 0`, `"skew_s": 1`}, {`cell_id: "concurrency=64"`, `cell_id: "concurrency=32"`}, {"14:02:10.000Z", "14:02:11.000Z"},
	} {
		changed := strings.Replace(text, c.old, c.now, 1)
		if changed == text {
			changed = strings.Replace(text, strings.ReplaceAll(c.old, "dt_ms:", `"dt_ms":`), strings.ReplaceAll(c.now, "dt_ms:", `"dt_ms":`), 1)
		}
		if changed == text {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, _, err := ReadFrozen("f.yaml", []byte(changed), nil)
		if err == nil || !regexp.MustCompile(`^f.yaml: FROZEN_TAMPERED: sha256 is [0-9a-f]{12}… in the file, [0-9a-f]{12}… computed; refusing to correlate$`).MatchString(err.Error()) {
			t.Errorf("%q instead of %q: %v", c.now, c.old, err)
		}
	}
	if _, _, err := ReadFrozen("f.yaml", []byte("# a comment\n\n"+strings.ReplaceAll(text, "\", \"gpu\"", "\",   \"gpu\"")), nil); err != nil {
		t.Errorf("white space and a comment: %v", err)
	}
	for old, want := range map[string]string{
		"schema: \"dcgm-frozen/v1\"": "unknown field \"scheme\"", "digest: {algo: sha256": "FROZEN_TAMPERED: the file has no digest of algo sha256",
	} {
		now := map[string]string{"schema: \"dcgm-frozen/v1\"": "scheme: \"dcgm-frozen/v1\"", "digest: {algo: sha256": "digest: {algo: md5"}[old]
		if _, _, err := ReadFrozen("f.yaml", []byte(strings.Replace(text, old, now, 1)), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", now, err, want)
		}
	}
}

func TestFrozenSeriesBeside(t *testing.T) {
	w := healthy()
	w.load = 600
	f, _ := w.freeze()
	file, series := encode(t, f)
	if _, _, err := ReadFrozen("f.yaml", file, beside(nil)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), SeriesFile) {
		t.Errorf("without the series: %v", err)
	}
	series[len(series)/2] ^= 1
	if _, _, err := ReadFrozen("f.yaml", file, beside(series)); err == nil || !strings.Contains(err.Error(), "FROZEN_TAMPERED: sha256 of "+SeriesFile) {
		t.Errorf("with other series: %v", err)
	}
}

func TestFrozenFits(t *testing.T) {
	f := full()
	in := NewWindow(f.Window.Start.Add(time.Second), f.Window.End.Time)
	if err := f.Fits("glm", "concurrency=64", in); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		campaign, cell string
		w              Window
		want           error
		text           string
	}{
		{"other", "concurrency=64", in, ErrOtherCell, "the file is of campaign glm, and this is other"},
		{"glm", "concurrency=32", in, ErrOtherCell, "the file is of cell concurrency=64, and this is concurrency=32"},
		{"glm", "concurrency=64", NewWindow(f.Window.Start.Add(-time.Millisecond), f.Window.End.Time), ErrWindow, "the cell ran from 2026-11-23T14:02:09.999Z"},
		{"glm", "concurrency=64", NewWindow(f.Window.Start.Time, f.Window.End.Add(time.Second)), ErrWindow, "freeze again"},
	} {
		if err := f.Fits(c.campaign, c.cell, c.w); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
}

func TestFrozenRefusesBadSeries(t *testing.T) {
	for _, c := range []struct {
		change func(*seriesLine)
		want   string
	}{
		{func(l *seriesLine) { l.GPU = "GPU-77" }, `is of GPU "GPU-77", which the file does not list`},
		{func(l *seriesLine) { l.V += " 1" }, "times and"},
		{func(l *seriesLine) { l.DT = strings.Replace(l.DT, " ", " -5 ", 1); l.V += " 1" }, `its times do not rise at "-5"`},
		{func(l *seriesLine) { l.V = strings.Replace(l.V, " ", " x ", 1); l.DT += " 1" }, `"x" is no number`},
	} {
		f := full()
		c.change(&f.Lines[0])
		if _, err := f.Samples(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func FuzzReadFrozen(f *testing.F) {
	w := healthy()
	w.load, w.gpus = 4, 1
	frozen, _ := w.freeze()
	file, _, _, err := frozen.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("schema: dcgm-frozen/v1\nseries: [{field_id: 1005, gpu: x, t0_ms: 1, dt_ms: '0', v: '1'}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		frozen, _, err := ReadFrozen("f.yaml", text, nil)
		if err == nil {
			_, _ = frozen.Samples() // must not panic
		}
	})
}

// The gz file beside is refused before it fills the memory.
func FuzzDecodeLines(f *testing.F) {
	f.Add([]byte(`{"field_id":1005,"gpu":"GPU-0","t0_ms":1,"dt_ms":"0 5","v":"0.5 0.6"}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = decodeLines(text) })
}
