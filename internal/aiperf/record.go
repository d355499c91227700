package aiperf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"

	"pipeline/internal/jsonscan"
	"pipeline/lake/perf"
)

// none stands for a number that a record does not have.
const none = -1

// A row is what is kept of a record: all but the times of its chunks, of which
// it knows where they are in the line.
type row struct {
	start, end    int64 // wall clock, ns
	credit, ack   int64 // wall clock, ns; 0 if not told
	ttft, latency int64 // ns, none if not told
	isl, osl      int32 // as AIPerf counted, none if not told
	usageISL      int32 // as the server counted, none if not told
	usageOSL      int32
	cached        int32 // of the input, in the server's prefix cache; none if not told
	turn          int32
	gapsAt        int32 // where the list of gaps begins in the line; 0 if there is none
	chunks        int32 // content chunks; 0 if not told
	flags         uint8
}

const (
	isWarmup uint8 = 1 << iota
	isCancelled
	isReused // the connection was used before
	hasError
)

func (r *row) is(flag uint8) bool { return r.flags&flag != 0 }

// A reader reads records, one after another.
type reader struct {
	seed    maphash.Seed
	session uint64             // hash of the x_correlation_id of the record read last
	failure *perf.RequestError // of the record read last, nil if it has none
	phase   int32              // profiling_index of the record read last
	unknown map[string][]byte  // fields that are not known, with the first value of each
	causes  map[string]*perf.RequestError
}

func newReader(seed maphash.Seed) *reader {
	return &reader{seed: seed, unknown: map[string][]byte{}, causes: map[string]*perf.RequestError{}}
}

// A fieldError is a fault of one field.
type fieldError struct {
	field string
	what  string
}

func (e *fieldError) Error() string { return "field " + e.field + ": " + e.what }

// read reads one line.
func (rd *reader) read(line []byte, r *row) error {
	*r = row{ttft: none, latency: none, isl: none, osl: none, usageISL: none, usageOSL: none, cached: none}
	rd.session, rd.failure, rd.phase = 0, nil, 0
	s := jsonscan.New(line)
	var key []byte
	var err error
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	var failure []byte
	if !s.Is('{') {
		return fmt.Errorf("no JSON object")
	}
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "metadata":
			keep(rd.metadata(&s, r))
		case "metrics":
			keep(rd.metrics(&s, r))
		case "error":
			failure = s.Skip()
		case "trace_data", "spec_decode_acceptance":
			s.Skip()
		default:
			rd.note("", key, s.Skip())
		}
	}
	if e := s.End(); e != nil {
		return fmt.Errorf("cut off or no JSON: %w", e)
	}
	if err != nil {
		return err
	}
	if failure != nil && string(failure) != "null" {
		if err := rd.fail(failure, r); err != nil {
			return err
		}
	}
	return r.check()
}

func (rd *reader) metadata(s *jsonscan.Scanner, r *row) (err error) {
	var key []byte
	at := func(to *int64) {
		name := string(key)
		if value := s.Skip(); err == nil {
			err = epoch("metadata."+name, value, to)
		}
	}
	if !s.Is('{') {
		return &fieldError{"metadata", "no object"}
	}
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "request_start_ns":
			at(&r.start)
		case "request_end_ns":
			at(&r.end)
		case "request_ack_ns":
			at(&r.ack)
		case "credit_issued_ns":
			at(&r.credit)
		case "x_correlation_id":
			if id, ok := s.String(); ok {
				rd.session = maphash.Bytes(rd.seed, id)
			}
		case "benchmark_phase", "phase_kind":
			if phase, ok := s.String(); ok && string(phase) == "warmup" {
				r.flags |= isWarmup
			}
		case "was_cancelled":
			if string(s.Skip()) == "true" {
				r.flags |= isCancelled
			}
		case "turn_index":
			if value := s.Skip(); err == nil {
				err = whole32("metadata.turn_index", value, &r.turn)
			}
		case "profiling_index":
			if value := s.Skip(); err == nil {
				err = whole32("metadata.profiling_index", value, &rd.phase)
			}
		case "session_num", "x_request_id", "conversation_id", "worker_id", "record_processor_id", "cancellation_time_ns",
			"phase_index", "phase_name", "context_overflow_skip", "agent_depth", "root_correlation_id", "parent_correlation_id",
			"source_trace_id", "source_outer_idx", "source_inner_idx", "source_kind":
			s.Skip()
		default:
			rd.note("metadata.", key, s.Skip())
		}
	}
	return err
}

// metrics reads the object of metrics, each {"value": …, "unit": …}.
func (rd *reader) metrics(s *jsonscan.Scanner, r *row) error {
	var err error
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	if !s.Is('{') {
		if string(s.Skip()) == "null" {
			return nil
		}
		return &fieldError{"metrics", "no object"}
	}
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "time_to_first_token", "ttft":
			keep(duration(s, "metrics.time_to_first_token", &r.ttft))
		case "request_latency":
			keep(duration(s, "metrics.request_latency", &r.latency))
		case "inter_chunk_latency":
			keep(gapList(s, r))
		case "input_sequence_length":
			keep(tokens(s, "metrics.input_sequence_length", &r.isl))
		case "output_sequence_length":
			keep(tokens(s, "metrics.output_sequence_length", &r.osl))
		case "usage_prompt_tokens":
			keep(tokens(s, "metrics.usage_prompt_tokens", &r.usageISL))
		case "usage_completion_tokens":
			keep(tokens(s, "metrics.usage_completion_tokens", &r.usageOSL))
		case "usage_prompt_cache_read_tokens":
			keep(tokens(s, "metrics.usage_prompt_cache_read_tokens", &r.cached))
		case "error_isl":
			var length int32
			keep(tokens(s, "metrics.error_isl", &length))
			if r.isl == none {
				r.isl = length
			}
		case "http_req_connection_reused":
			if value, _ := metric(s); string(value) == "1" || string(value) == "1.0" {
				r.flags |= isReused
			}
		default:
			if value := s.Skip(); !knownMetric(key) {
				rd.note("metrics.", key, value)
			}
		}
	}
	return err
}

// note keeps a field that is not known, with its first value.
func (rd *reader) note(path string, key, value []byte) {
	const most = 1000 // of names, and of bytes of a value
	if _, seen := rd.unknown[path+string(key)]; seen || len(rd.unknown) >= most {
		return
	}
	if len(value) > most {
		value = nil
	}
	rd.unknown[path+string(key)] = bytes.Clone(value)
}

// metric consumes a metric and returns its value and unit.
func metric(s *jsonscan.Scanner) (value, unit []byte) {
	if !s.Is('{') {
		s.Skip()
		return nil, nil
	}
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "value":
			value = s.Skip()
		case "unit":
			unit, _ = s.String()
		default:
			s.Skip()
		}
	}
	return value, unit
}

func duration(s *jsonscan.Scanner, field string, to *int64) error {
	value, unit := metric(s)
	if value == nil || string(value) == "null" {
		return nil
	}
	ns, ok := nanoseconds(value, unit)
	if !ok {
		return &fieldError{field, fmt.Sprintf("%.40q %.20q is no duration", value, unit)}
	}
	*to = ns
	return nil
}

func tokens(s *jsonscan.Scanner, field string, to *int32) error {
	value, unit := metric(s)
	if value == nil || string(value) == "null" {
		return nil
	}
	if string(unit) != "tokens" {
		return &fieldError{field, fmt.Sprintf("unit %.20q, want tokens", unit)}
	}
	return whole32(field, value, to)
}

// gapList notes where the list of gaps is and how many they are. It is parsed
// when it is asked for.
func gapList(s *jsonscan.Scanner, r *row) error {
	const field = "metrics.inter_chunk_latency"
	if !s.Is('{') {
		s.Skip()
		return &fieldError{field, "no object"}
	}
	var key []byte
	var unit []byte
	var at, n int
	flat := true
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "value":
			if !s.Is('[') {
				flat = string(s.Skip()) == "null"
				continue
			}
			at = s.Offset()
			n = flatList(s.SkipFlat())
		case "unit":
			unit, _ = s.String()
		default:
			s.Skip()
		}
	}
	switch {
	case !flat:
		return &fieldError{field, "no list"}
	case s.Err() != nil || at == 0 || n == 0:
		return nil
	case string(unit) != "ms":
		return &fieldError{field, fmt.Sprintf("unit %.20q, want ms", unit)}
	case at > math.MaxInt32 || n >= math.MaxInt32:
		return &fieldError{field, "the list is too long"}
	}
	r.gapsAt, r.chunks = int32(at), int32(n+1)
	return nil
}

// flatList counts the elements of a list that holds no other.
func flatList(list []byte) int {
	if len(bytes.Trim(list, "[] \t\r\n")) == 0 {
		return 0
	}
	return bytes.Count(list, []byte{','}) + 1
}

// gaps appends the times of content chunks to times: the first, and then what
// the list of gaps says. It returns too how many gaps are zero.
func gaps(list []byte, first int64, times []int64) (all []int64, zero int, err error) {
	at := first
	times = append(times, at)
	for i := 1; ; {
		for i < len(list) && (list[i] == ' ' || list[i] == ',' || list[i] == '\t') {
			i++
		}
		if i >= len(list) {
			return times, zero, &fieldError{"metrics.inter_chunk_latency", "the list does not end"}
		}
		if list[i] == ']' {
			return times, zero, nil
		}
		from := i
		ns, next := milliseconds(list, i)
		if next == from {
			for next < len(list) && list[next] != ',' && list[next] != ']' && list[next] != ' ' {
				next++
			}
			var ok bool
			if ns, ok = nanoseconds(list[from:next], []byte("ms")); !ok || next == from {
				return times, zero, &fieldError{"metrics.inter_chunk_latency", fmt.Sprintf("%.40q is no duration", list[from:next])}
			}
		}
		i = next
		if ns == 0 {
			zero++
		}
		at += ns
		if ns > longest || at-first > longest {
			return times, zero, &fieldError{"metrics.inter_chunk_latency", "the gaps are more than a hundred days"}
		}
		times = append(times, at)
	}
}

// milliseconds reads a plain decimal number of milliseconds at i, rounded to
// the nanosecond. For any other it returns i.
func milliseconds(b []byte, i int) (ns int64, next int) {
	from := i
	var v int64
	for i < len(b) && b[i]-'0' <= 9 {
		v = v*10 + int64(b[i]-'0')
		i++
	}
	if i == from || i-from > 12 {
		return 0, from
	}
	digits := 0
	if i < len(b) && b[i] == '.' {
		i++
		for i < len(b) && b[i]-'0' <= 9 && digits < 6 {
			v = v*10 + int64(b[i]-'0')
			i++
			digits++
		}
		if i < len(b) && b[i]-'0' <= 9 {
			if b[i] >= '5' {
				v++
			}
			for i < len(b) && b[i]-'0' <= 9 {
				i++
			}
		}
	}
	for ; digits < 6; digits++ {
		v *= 10
	}
	if i < len(b) && b[i] != ',' && b[i] != ']' && b[i] != '}' && b[i] != ' ' {
		return 0, from // an exponent, or no number
	}
	return v, i
}

// longest is the longest time that is taken for one: a hundred days.
const longest = 100 * 24 * 3600 * 1e9

// nanoseconds reads a duration in any unit of time. It is not below zero.
func nanoseconds(value, unit []byte) (int64, bool) {
	if string(unit) == "ms" {
		if ns, next := milliseconds(value, 0); next == len(value) && next > 0 && ns <= longest {
			return ns, true
		}
	}
	u, known := units[string(unit)]
	v, err := strconv.ParseFloat(string(value), 64)
	if !known || u.kind != "time" || err != nil || !(v >= 0) {
		return 0, false
	}
	ns := math.Round(v * u.factor * 1e6)
	return int64(ns), ns <= longest
}

// epoch reads an instant in nanoseconds since 1970.
func epoch(field string, value []byte, to *int64) error {
	if string(value) == "null" || value == nil {
		return nil
	}
	ns, err := strconv.ParseInt(string(value), 10, 64)
	// From 2001 to 2128: seconds or microseconds in its place are found out.
	if err != nil || ns < 1e18 || ns > 5e18 {
		return &fieldError{field, fmt.Sprintf("%.40q is no time in ns since 1970", value)}
	}
	*to = ns
	return nil
}

// whole32 reads a whole number from 0 on, which older versions write as 12.0.
func whole32(field string, value []byte, to *int32) error {
	if string(value) == "null" || value == nil {
		return nil
	}
	v, err := strconv.ParseFloat(string(value), 64)
	if err != nil || v < 0 || v > math.MaxInt32 || v != math.Trunc(v) {
		return &fieldError{field, fmt.Sprintf("%.40q is no count", value)}
	}
	*to = int32(v)
	return nil
}

// check holds the numbers of a record against each other.
func (r *row) check() error {
	switch {
	case r.start == 0:
		return &fieldError{"metadata.request_start_ns", "it is missing"}
	case r.end == 0:
		return &fieldError{"metadata.request_end_ns", "it is missing"}
	case r.end < r.start:
		return &fieldError{"metadata.request_end_ns", "it is before request_start_ns"}
	case r.end-r.start > longest:
		return &fieldError{"metadata.request_end_ns", "it is more than a hundred days after request_start_ns"}
	case r.ttft >= 0 && r.latency >= 0 && r.ttft > r.latency:
		return &fieldError{"metrics.time_to_first_token", "it is longer than request_latency"}
	case r.usageISL >= 0 && r.cached > r.usageISL:
		return &fieldError{"metrics.usage_prompt_cache_read_tokens", "they are more than usage_prompt_tokens"}
	}
	return nil
}

// cancelledCode is what AIPerf gives to a request that it cancelled itself, as asked.
const cancelledCode = 499

// fail reads the error of a record.
func (rd *reader) fail(raw []byte, r *row) error {
	r.flags |= hasError
	key := raw
	if r.ack > 0 {
		key = append(bytes.Clone(raw), '+')
	}
	if cause, ok := rd.causes[string(key)]; ok {
		rd.failure = cause
		return nil
	}
	var e struct {
		Code    *int   `json:"code"`
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return &fieldError{"error", err.Error()}
	}
	count := ErrorCount{Type: e.Type, Message: e.Message}
	cause := &perf.RequestError{Phase: "headers"}
	switch {
	case e.Code != nil && *e.Code == cancelledCode || r.is(isCancelled):
		cause.Phase = "cancelled"
	case e.Code != nil && *e.Code >= 100 && *e.Code < 600:
		cause.Status = *e.Code
	case e.Type == "TimeoutError" || e.Type == "ServerTimeoutError" || e.Type == "SocketTimeoutError":
		cause.Phase = "deadline"
	case e.Type == "ClientConnectorError" || e.Type == "ConnectionRefusedError" || e.Type == "ClientConnectorDNSError":
		cause.Phase = "connect"
	case r.ack > 0 || e.Type == "InvalidInferenceResultError":
		cause.Phase = "stream"
	}
	cause.Message = count.String()
	rd.failure = cause
	if len(rd.causes) < 10_000 {
		rd.causes[string(key)] = cause
	}
	return nil
}
