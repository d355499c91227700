package dcgm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
)

// FrozenSchema names the shape of a frozen file.
const FrozenSchema = "dcgm-frozen/v1"

// The names of the two artifacts: the file, and the series beside it where
// they are too many to stand in it.
const (
	FrozenFile = "dcgm-frozen.yaml"
	SeriesFile = "dcgm-series.jsonl.gz"
)

// A Frozen is what was asked and what came back, with all that is needed to
// work it out again.
type Frozen struct {
	Schema      string            `yaml:"schema" json:"schema"`
	Campaign    string            `yaml:"campaign" json:"campaign"`
	CellID      string            `yaml:"cell_id" json:"cell_id"`
	Measurement string            `yaml:"measurement_sha256" json:"measurement_sha256"` // of measurement.json
	CapturedAt  Stamp             `yaml:"captured_at" json:"captured_at"`
	CapturedBy  string            `yaml:"captured_by" json:"captured_by"`
	Simulated   bool              `yaml:"simulated" json:"simulated"`
	Source      Source            `yaml:"source" json:"source"`
	Versions    map[string]string `yaml:"versions" json:"versions,omitempty"`
	Window      Window            `yaml:"window" json:"window"`
	Selected    string            `yaml:"selected_by" json:"selected_by"` // how the GPUs were found
	GPUs        []GPU             `yaml:"gpus" json:"gpus"`               // of the cell
	Neighbours  []GPU             `yaml:"neighbours" json:"neighbours,omitempty"`
	Workload    Workload          `yaml:"workload" json:"workload"`
	Queries     []Query           `yaml:"queries" json:"queries,omitempty"`
	Missing     []Missing         `yaml:"missing" json:"missing,omitempty"`
	SeriesSum   string            `yaml:"series_sha256" json:"series_sha256,omitempty"` // of SeriesFile, if they stand there
	Lines       []seriesLine      `yaml:"series" json:"series,omitempty"`
	Digest      *frozenDigest     `yaml:"digest" json:"-"`
}

// A Stamp is a time to the millisecond, UTC.
type Stamp struct{ time.Time }

const stampFormat = "2006-01-02T15:04:05.000Z"

// String writes it.
func (s Stamp) String() string { return s.UTC().Format(stampFormat) }

// MarshalJSON writes it. Without it the method of time.Time would.
func (s Stamp) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(s.String())), nil }

// UnmarshalJSON reads it.
func (s *Stamp) UnmarshalJSON(b []byte) error {
	text, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("%s is not a time in quotes", b)
	}
	return s.UnmarshalText([]byte(text))
}

// UnmarshalText reads it.
func (s *Stamp) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("%q is not a time such as 2026-11-23T10:15:40.250Z", b)
	}
	s.Time = t.UTC()
	return nil
}

// A Window is a span of time on one clock.
type Window struct {
	Start Stamp `yaml:"start" json:"start"`
	End   Stamp `yaml:"end" json:"end"`
}

// NewWindow returns the window from one time to another, to the millisecond,
// so that what is written of it is what it is.
func NewWindow(start, end time.Time) Window {
	return Window{Stamp{start.UTC().Truncate(time.Millisecond)}, Stamp{end.UTC().Truncate(time.Millisecond)}}
}

// Seconds is its length.
func (w Window) Seconds() float64 { return w.End.Sub(w.Start.Time).Seconds() }

// String prints the window as people read it: 14:02:10-14:06:40Z.
func (w Window) String() string {
	return w.Start.UTC().Format("15:04:05") + "-" + w.End.UTC().Format("15:04:05Z")
}

func (w Window) holds(o Window) bool {
	return !o.Start.Before(w.Start.Time) && !o.End.After(w.End.Time)
}

// The kinds of a Source.
const (
	FromPrometheus = "prometheus"
	FromScrape     = "dcgm-exporter-scrape"
	FromDmon       = "dcgmi-dmon"
	FromAIPerf     = "aiperf-telemetry"
)

// A Source says where samples came from.
type Source struct {
	Kind string `yaml:"kind" json:"kind"`
	Host string `yaml:"host" json:"host,omitempty"` // host:port; never a user, a password or a path
	API  string `yaml:"api" json:"api,omitempty"`   // of Prometheus: the endpoint that was asked
	File string `yaml:"file" json:"file,omitempty"` // name of the file that was read
	Size int64  `yaml:"file_bytes" json:"file_bytes"`
	// SkewS is how far the clock of the samples is ahead of the one of the
	// measurement, as far as it could be seen.
	SkewS       float64 `yaml:"skew_s" json:"skew_s"`
	ScrapeS     float64 `yaml:"scrape_interval_s" json:"scrape_interval_s"`   // between two samples; 0 is not known
	CollectS    float64 `yaml:"collect_interval_s" json:"collect_interval_s"` // as declared; 0 is not declared
	ScrapeTookS float64 `yaml:"scrape_took_s" json:"scrape_took_s"`           // the longest of our own scrapes
	Percent     bool    `yaml:"ratios_in_percent" json:"ratios_in_percent"`   // declared: ratios come as 0 to 100
}

// eps is how much of each end of a window is given up, since clocks and stamps
// are not exact.
func (s Source) eps() float64 {
	switch s.Kind {
	case FromPrometheus:
		return max(2, 2*abs(s.SkewS))
	case FromScrape: // by the process that measured, on its own clock
		return max(0.02, s.ScrapeTookS)
	}
	return max(0.2, 2*abs(s.SkewS)) // stamps of the node itself
}

// coverage is what a sample tells of: the span [t-lag-avg, t], in units of the
// collect interval.
func (s Source) coverage() (lag, avg float64) {
	if s.Kind == FromDmon {
		return 0, 1
	}
	return 1, 1
}

func abs(v float64) float64 { return max(v, -v) }

// A Workload says what ran on the GPUs.
type Workload struct {
	Namespace string   `yaml:"namespace" json:"namespace,omitempty"`
	Pods      []string `yaml:"pods" json:"pods,omitempty"`
	MIG       bool     `yaml:"mig" json:"mig"` // the cell says that it ran on MIG instances
}

// A Query is one question and how much came back.
type Query struct {
	Field   Field  `yaml:"field_id" json:"field_id"`
	Name    string `yaml:"name" json:"name"` // under which the source had it
	PromQL  string `yaml:"promql" json:"promql,omitempty"`
	Series  int    `yaml:"series" json:"series"`
	Samples int    `yaml:"samples" json:"samples"`
}

// A Missing is a field for which nothing came.
type Missing struct {
	Field  Field  `yaml:"field_id" json:"field_id"`
	Reason string `yaml:"reason" json:"reason"`
}

type frozenDigest struct {
	Algo  string `yaml:"algo"`
	Over  string `yaml:"over"`
	Value string `yaml:"value"`
}

// A seriesLine is a Series, packed: times as differences, values as the
// shortest text that gives the same float64, each list in one scalar.
type seriesLine struct {
	Field  Field             `yaml:"field_id" json:"field_id"`
	GPU    string            `yaml:"gpu" json:"gpu"` // key of the GPU
	Labels map[string]string `yaml:"labels" json:"labels,omitempty"`
	T0     int64             `yaml:"t0_ms" json:"t0_ms"`
	DT     string            `yaml:"dt_ms" json:"dt_ms"`
	V      string            `yaml:"v" json:"v"`
}

func pack(s *Series) seriesLine {
	line := seriesLine{Field: s.Field, GPU: s.GPU.Key(), Labels: s.Labels}
	if len(s.Labels) == 0 {
		line.Labels = nil
	}
	var dt, v []byte
	for i, t := range s.T {
		if i == 0 {
			line.T0 = t
		} else {
			dt, v = append(dt, ' '), append(v, ' ')
		}
		dt = strconv.AppendInt(dt, t-s.T[max(0, i-1)], 10)
		v = strconv.AppendFloat(v, s.V[i], 'g', -1, 64)
	}
	line.DT, line.V = string(dt), string(v)
	return line
}

func (l seriesLine) unpack(gpus map[string]GPU) (*Series, error) {
	g, ok := gpus[l.GPU]
	if !ok {
		return nil, fmt.Errorf("a series of %s is of GPU %q, which the file does not list", l.Field, l.GPU)
	}
	s := &Series{Field: l.Field, GPU: g, Labels: l.Labels}
	dts, vs := strings.Fields(l.DT), strings.Fields(l.V)
	if len(dts) != len(vs) {
		return nil, fmt.Errorf("the series %s of %s has %d times and %d values", l.Field, g, len(dts), len(vs))
	}
	t := l.T0
	for i := range dts {
		dt, err := strconv.ParseInt(dts[i], 10, 64)
		if err != nil || dt < 0 || i > 0 && dt == 0 {
			return nil, fmt.Errorf("the series %s of %s: its times do not rise at %q", l.Field, g, dts[i])
		}
		v, err := strconv.ParseFloat(vs[i], 64)
		if err != nil {
			return nil, fmt.Errorf("the series %s of %s: %q is no number", l.Field, g, vs[i])
		}
		t += dt
		s.T, s.V = append(s.T, t), append(s.V, v)
	}
	return s, nil
}

// Samples unpacks the series.
func (f *Frozen) Samples() (*Samples, error) {
	return unpack(f.Lines, append(append([]GPU{}, f.GPUs...), f.Neighbours...))
}

func unpack(lines []seriesLine, of []GPU) (*Samples, error) {
	gpus := make(map[string]GPU, len(of))
	for _, g := range of {
		gpus[g.Key()] = g
	}
	all := &Samples{}
	for _, line := range lines {
		s, err := line.unpack(gpus)
		if err != nil {
			return nil, err
		}
		*all.of(s.Field, s.GPU, s.Labels) = *s
	}
	return all, nil
}

// Freeze takes the samples of the cell's GPUs and their neighbours in.
func (f *Frozen) Freeze(samples *Samples) {
	keep := map[string]bool{}
	for _, g := range append(append([]GPU{}, f.GPUs...), f.Neighbours...) {
		keep[g.Key()] = true
	}
	f.Schema, f.Lines = FrozenSchema, nil
	for _, s := range samples.Series() {
		if keep[s.GPU.Key()] {
			f.Lines = append(f.Lines, pack(s))
		}
	}
}

// mostInline is how many bytes of series stand in the YAML itself.
const mostInline = 256 << 10

// Encode writes the file, and the series beside it, which is nil where they
// stand in the file. The digest is over everything but itself.
func (f *Frozen) Encode() (file, series []byte, sum digest.Digest, err error) {
	lines, err := encodeLines(f.Lines)
	if err != nil {
		return nil, nil, sum, err
	}
	head := *f
	head.SeriesSum = ""
	if len(bytes.Join(lines, nil)) > mostInline {
		if series, err = zip(lines); err != nil {
			return nil, nil, sum, err
		}
		head.SeriesSum, head.Lines, lines = digest.Of(series).String(), nil, nil
	}
	text, err := head.yaml(lines)
	if err != nil {
		return nil, nil, sum, err
	}
	if sum, err = bodyDigest(FrozenFile, text); err != nil {
		return nil, nil, sum, err
	}
	text = fmt.Appendf(text, "digest: {algo: sha256, over: %q, value: %q}\n", digestOver, sum)
	return text, series, sum, nil
}

const digestOver = "the canonical JSON of this document without digest"

func zip(lines [][]byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return b.Bytes(), err
}

// bodyDigest is over the canonical JSON of the parsed text, so that white
// space and comments are no part of it and every value is.
func bodyDigest(name string, text []byte) (digest.Digest, error) {
	node, err := yaml.Parse(name, text)
	if err != nil {
		return digest.Digest{}, err
	}
	body, ok := node.Value().(map[string]any)
	if !ok {
		return digest.Digest{}, fmt.Errorf("%s: it is no map", name)
	}
	delete(body, "digest")
	canonical, err := digest.Canonical(body)
	if err != nil {
		return digest.Digest{}, fmt.Errorf("%s: %w", name, err)
	}
	return digest.Of(canonical), nil
}

// Limits of what is read.
const (
	maxSeriesFile = 64 << 20
	maxSeries     = 1 << 30 // unpacked
)

// ReadFrozen reads a file and checks its digest. series opens the file beside
// it, by name, where the samples stand there.
func ReadFrozen(name string, text []byte, series func(name string) (io.ReadCloser, error)) (*Frozen, digest.Digest, error) {
	var f Frozen
	fail := func(format string, a ...any) (*Frozen, digest.Digest, error) {
		return nil, digest.Digest{}, fmt.Errorf(name+": "+format, a...)
	}
	if err := yaml.Unmarshal(name, text, &f); err != nil {
		return nil, digest.Digest{}, err
	}
	switch {
	case f.Schema != FrozenSchema:
		return fail("the schema is %.40q, want %q", f.Schema, FrozenSchema)
	case f.Digest == nil || f.Digest.Algo != "sha256":
		return fail("FROZEN_TAMPERED: the file has no digest of algo sha256; refusing to correlate")
	}
	sum, err := bodyDigest(name, text)
	if err != nil {
		return nil, digest.Digest{}, err
	}
	if sum.String() != f.Digest.Value {
		return fail("FROZEN_TAMPERED: sha256 is %.12s… in the file, %.12s… computed; refusing to correlate", f.Digest.Value, sum)
	}
	if f.SeriesSum != "" {
		if f.Lines, err = readSeries(f.SeriesSum, series); err != nil {
			return fail("%w", err)
		}
	}
	return &f, sum, nil
}

func readSeries(want string, open func(string) (io.ReadCloser, error)) ([]seriesLine, error) {
	if open == nil {
		return nil, fmt.Errorf("its series stand in %s beside it", SeriesFile)
	}
	r, err := open(SeriesFile)
	if err != nil {
		return nil, fmt.Errorf("its series stand in %s beside it: %w", SeriesFile, err)
	}
	defer r.Close()
	packed, err := io.ReadAll(io.LimitReader(r, maxSeriesFile+1))
	if err != nil {
		return nil, err
	}
	if len(packed) > maxSeriesFile {
		return nil, fmt.Errorf("%s is longer than %d MB", SeriesFile, maxSeriesFile>>20)
	}
	if got := digest.Of(packed).String(); got != want {
		return nil, fmt.Errorf("FROZEN_TAMPERED: sha256 of %s is %.12s… in the file, %.12s… computed; refusing to correlate", SeriesFile, want, got)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SeriesFile, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxSeries+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SeriesFile, err)
	}
	if len(text) > maxSeries {
		return nil, fmt.Errorf("%s unpacks to more than %d MB", SeriesFile, maxSeries>>20)
	}
	return decodeLines(text)
}

// ErrOtherCell and ErrWindow are refusals to take one cell's samples for
// another's.
var (
	ErrOtherCell = errors.New("FROZEN_OTHER_CELL")
	ErrWindow    = errors.New("FROZEN_WINDOW")
)

// Fits refuses a file that is of another campaign or cell, or that does not
// reach over the window. A window may be trimmed again, and never extended.
func (f *Frozen) Fits(campaign, cell string, window Window) error {
	switch {
	case f.Campaign != campaign:
		return fmt.Errorf("%w: the file is of campaign %s, and this is %s; refusing to correlate", ErrOtherCell, f.Campaign, campaign)
	case f.CellID != cell:
		return fmt.Errorf("%w: the file is of cell %s, and this is %s; refusing to correlate", ErrOtherCell, f.CellID, cell)
	case !f.Window.holds(window):
		return fmt.Errorf("%w: samples were frozen for %s to %s, and the cell ran from %s to %s; freeze again, from Prometheus if it still has them",
			ErrWindow, f.Window.Start, f.Window.End, window.Start, window.End)
	}
	return nil
}
