package vllmbench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// A Block is one result block of a log.
type Block struct {
	Line   int                // of its banner, from 1
	Values map[string]float64 // by label in lower case, without its colon: "median ttft (ms)"
	Texts  map[string]string  // rows that hold words: "backend"
	Before map[string]string  // what was said of the run before the block: max_concurrency, model
	Faults []string           // why it is a part: "truncated_block: …"
}

// Limits of what is kept of a log.
const (
	maxLine  = 64 << 10 // a longer line is no row
	maxRows  = 500      // of a block
	maxBlock = 10_000   // blocks of a log
)

var (
	escapeRE  = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
	prefixRE  = regexp.MustCompile(`^(?:\[pod/[^\]]*\]\s*)?(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?\s+)?[#>\s]*`)
	bannerRE  = regexp.MustCompile(`=+ Serving Benchmark Result =+\s*$`)
	footerRE  = regexp.MustCompile(`^={40,}$`)
	sectionRE = regexp.MustCompile(`^-{2,}\s*(.*?)\s*-{2,}$`)
	rowRE     = regexp.MustCompile(`^([^:]+(?:\([^)]*\))?):\s+(\S(?:.*\S)?)$`)
	argRE     = regexp.MustCompile(`\b([a-z_]+)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\s()]+)`)
)

// ReadLog returns the result blocks of a log, in order. A log without one is
// an error. A block without its end, or with a row that can't be read, is
// returned with its Faults.
func ReadLog(r io.Reader) ([]Block, error) {
	p := logParser{before: map[string]string{}}
	lines, number := newLines(r)
	for lines.Scan() {
		p.line(*number, lines.Text())
		if len(p.blocks) > maxBlock {
			return nil, fmt.Errorf("line %d: the log has more than %d result blocks", *number, maxBlock)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", *number, err)
	}
	p.end("the log ends inside the block")
	if len(p.blocks) == 0 {
		return nil, errors.New(`it has no line "Serving Benchmark Result": this is no log of vllm bench serve, or the run ended before its result`)
	}
	return p.blocks, nil
}

// logParser is between two lines of a log.
type logParser struct {
	blocks []Block
	open   *Block
	prefix string            // before each line of the open block
	before map[string]string // since the last block
}

func (p *logParser) line(number int, raw string) {
	text := escapeRE.ReplaceAllString(raw, "")
	if at := bannerRE.FindStringIndex(text); at != nil {
		p.end("another block begins inside it")
		p.open = &Block{Line: number, Values: map[string]float64{}, Texts: map[string]string{}, Before: p.before}
		p.prefix = text[:at[0]]
		p.before = map[string]string{}
		return
	}
	if p.open == nil {
		p.context(text)
		return
	}
	text = strings.TrimSpace(clean(text, p.prefix))
	switch {
	case footerRE.MatchString(text):
		p.end("")
	case sectionRE.MatchString(text):
	default:
		p.open.row(text)
	}
}

// clean takes away what a collector of logs, or a logger, puts before a line:
// the prefix of the banner, one of the same length whose time is another, or
// one that is known.
func clean(text, prefix string) string {
	if rest, ok := strings.CutPrefix(text, prefix); ok && prefix != "" {
		return rest
	}
	rest := text[len(prefixRE.FindString(text)):]
	if n := len(prefix); n > 0 && n < len(text) && !isRow(rest) && isRow(text[n:]) {
		return text[n:]
	}
	return rest
}

// isRow reports whether a line is a part of a block.
func isRow(text string) bool {
	text = strings.TrimSpace(text)
	return footerRE.MatchString(text) || sectionRE.MatchString(text) || rowRE.MatchString(text)
}

// end closes the open block; why is not empty if that is not its own end.
func (p *logParser) end(why string) {
	if p.open == nil {
		return
	}
	if why != "" {
		p.open.Faults = append(p.open.Faults, fmt.Sprintf("truncated_block: %s (it begins at line %d)", why, p.open.Line))
	}
	p.blocks = append(p.blocks, *p.open)
	p.open = nil
}

func (b *Block) row(text string) {
	m := rowRE.FindStringSubmatch(text)
	if m == nil || len(b.Values)+len(b.Texts) >= maxRows {
		return // noise of a progress bar, or of the server
	}
	label := strings.ToLower(strings.TrimSpace(m[1]))
	value, err := strconv.ParseFloat(m[2], 64)
	if err != nil {
		if isMetric(label) {
			b.Faults = append(b.Faults, fmt.Sprintf("unreadable_row: %s: %.40q is no number (block of line %d)", m[1], m[2], b.Line))
			return
		}
		b.Texts[label] = m[2]
		return
	}
	if was, ok := b.Values[label]; ok && was != value {
		b.Faults = append(b.Faults, fmt.Sprintf("repeated_row: %s is %v and %v (block of line %d)", m[1], was, value, b.Line))
		return
	}
	b.Values[label] = value
}

// context keeps what the tool says of a run before its block.
func (p *logParser) context(text string) {
	if strings.Contains(text, "Namespace(") {
		for _, m := range argRE.FindAllStringSubmatch(text, -1) {
			if value := strings.Trim(m[2], `'"`); keptArgs[m[1]] && value != "None" {
				p.before[m[1]] = value
			}
		}
		return
	}
	if m := rowRE.FindStringSubmatch(strings.TrimSpace(clean(text, ""))); m != nil {
		switch strings.ToLower(m[1]) {
		case "maximum request concurrency", "max request concurrency":
			p.before["max_concurrency"] = m[2]
		case "traffic request rate":
			p.before["request_rate"] = m[2]
		}
	}
}

// keptArgs are the arguments of the tool that say something of the run.
var keptArgs = map[string]bool{
	"backend": true, "endpoint": true, "model": true, "served_model_name": true, "dataset_name": true, "num_prompts": true, "max_concurrency": true, "request_rate": true,
	"random_input_len": true, "random_output_len": true, "random_range_ratio": true, "ignore_eos": true, "seed": true, "num_warmups": true, "temperature": true,
}

// Report returns the block as a report.
func (b Block) Report() perf.Report {
	f := fields{driver: "vllm-bench", format: FormatLog, told: maps.Clone(b.Before)}
	if f.told == nil {
		f.told = map[string]string{}
	}
	if b.Texts["backend"] == "sglang" {
		f.driver = "sglang-bench"
	}
	get := func(labels ...string) *float64 {
		for _, l := range labels {
			if v, ok := b.Values[l]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
				return &v
			}
		}
		return nil
	}
	f.completed, f.failed = get("successful requests"), get("failed requests")
	f.durationS = get("benchmark duration (s)")
	f.inputTokens = get("total input tokens")
	f.outputTokens = get("total generated tokens")
	f.requestRPS, f.goodputRPS = get("request throughput (req/s)"), get("request goodput (req/s)")
	f.outputTPS = get("output token throughput (tok/s)")
	f.totalTPS = get("total token throughput (tok/s)", "total throughput (tok/s)")
	f.acceptance = get("acceptance length", "accept length")
	if c := get("maximum request concurrency", "max request concurrency"); c != nil {
		f.told["max_concurrency"] = number(*c)
	}
	if rate := get("request rate configured (rps)", "traffic request rate"); rate != nil {
		f.told["request_rate"] = number(*rate)
	}
	f.latencyMS = func(metric, stat string) *float64 {
		for _, name := range map[string][]string{"ttft": {"ttft"}, "tpot": {"tpot"}, "itl": {"itl"}, "e2el": {"e2el", "e2e latency"}}[metric] {
			if v := get(fmt.Sprintf("%s %s (ms)", stat, name)); v != nil {
				return v
			}
		}
		return nil
	}
	r := f.report()
	r.Reasons = append(r.Reasons, b.Faults...)
	return r
}

var metricRE = regexp.MustCompile(`\((ms|s|req/s|tok/s)\)$|requests$|tokens$`)

// isMetric reports whether a row of that label must hold a number.
func isMetric(label string) bool { return metricRE.MatchString(label) }

// newLines splits a log at line feeds and carriage returns, with which progress
// bars write over themselves, and counts the line feeds. What is too long for a
// row comes in pieces.
func newLines(r io.Reader) (lines *bufio.Scanner, number *int) {
	ended := 0
	number = new(int)
	lines = bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine), 2*maxLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		*number = ended + 1
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			if data[i] == '\n' {
				ended++
			}
			return i + 1, data[:i], nil
		}
		if len(data) >= maxLine || atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	return lines, number
}
