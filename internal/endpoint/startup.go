package endpoint

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	startupLog    = "start-up log" // the source of what is read there
	startupBytes  = 4 << 20        // of a log that are looked at: a server starts at its beginning
	startupLine   = 64 << 10       // of a line: that of the configuration is long
	versionMark   = "vLLM API server version "
	argumentsMark = "non-default args: {"
	configMark    = "Initializing a V1 LLM engine (v"
)

var (
	argumentRE    = regexp.MustCompile(`'(\w+)': ('[^']*'|[\w.+-]+)`)
	configRE      = regexp.MustCompile(`\b(\w+)=('[^']*'|[\w.+-]+)`)
	kvSizeRE      = regexp.MustCompile(`GPU KV cache size: ([\d,]+) tokens`)
	concurrencyRE = regexp.MustCompile(`Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x`)
)

// startupFields maps the names in both lines to fields. The rest holds
// addresses and keys, and is not read.
func startupFields() map[string]string {
	return map[string]string{
		"tensor_parallel_size": TP, "pipeline_parallel_size": PP, "data_parallel_size": DP,
		"kv_cache_dtype": KVCacheDtype, "quantization": Quant, "max_seq_len": MaxModelLen, "max_num_seqs": MaxNumSeqs,
		"max_num_batched_tokens": MaxBatchedTokens, "gpu_memory_utilization": GPUMemUtilization, "block_size": BlockSize,
		"enable_prefix_caching": PrefixCaching, "enable_chunked_prefill": ChunkedPrefill, "chunked_prefill_enabled": ChunkedPrefill,
		"enforce_eager": EnforceEager, "async_scheduling": AsyncScheduling, "revision": ModelRevision,
	}
}

// A startup is what a vLLM printed as it started.
type startup struct {
	values map[string]string // by field
	live   map[string]string // as of Observation.Live
}

// readStartup reads the last start in the first part of a log.
func readStartup(log io.Reader) startup {
	s := startup{values: map[string]string{}, live: map[string]string{}}
	in := bufio.NewReaderSize(io.LimitReader(log, startupBytes), startupLine)
	for {
		line, err := readLine(in)
		_, text, _ := splitLine(line)
		s.line(text)
		if err != nil {
			return s
		}
	}
}

func (s *startup) line(text string) {
	if version, ok := strings.CutPrefix(text, versionMark); ok {
		*s = startup{values: map[string]string{Engine: "vllm", EngineVersion: strings.TrimSpace(version)}, live: map[string]string{}}
		return
	}
	if args, ok := strings.CutPrefix(text, argumentsMark); ok {
		s.take(argumentRE.FindAllStringSubmatch(args, -1))
	}
	if config, ok := strings.CutPrefix(text, configMark); ok {
		version, _, _ := strings.Cut(config, ")")
		s.values[Engine], s.values[EngineVersion] = "vllm", version
		s.take(configRE.FindAllStringSubmatch(config, -1))
	}
	if m := kvSizeRE.FindStringSubmatch(text); m != nil {
		s.live["kv_cache_size_tokens"] = strings.ReplaceAll(m[1], ",", "")
	}
	if m := concurrencyRE.FindStringSubmatch(text); m != nil {
		s.live["kv_cache_max_concurrency"] = m[1]
	}
}

func (s *startup) take(pairs [][]string) {
	fields := startupFields()
	dtype := ""
	for _, pair := range pairs {
		value := strings.Trim(pair[2], "'")
		if pair[1] == "dtype" {
			dtype = strings.TrimPrefix(value, "torch.")
		}
		if field, ok := fields[pair[1]]; ok && normal(field, value) != "" {
			s.values[field] = value
		}
	}
	if _, told := s.values[Quant]; !told && dtype != "" && dtype != "auto" {
		s.values[Quant] = dtype
	}
}

// startup learns from the server's log what it does not tell over HTTP. Where
// the two differ, the log may be of another server: HTTP stands, and the
// difference is kept as evidence.
func (o *Observation) startup(path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		o.Answers[startupLog] = "cannot be read"
		return
	}
	defer f.Close()
	s := readStartup(f)
	var differs []string
	for _, field := range slices.Sorted(maps.Keys(s.values)) {
		value := normal(field, s.values[field])
		known, ok := o.Identity.Values[field]
		if ok && known != value && !(field == Engine && o.Identity.Values[Simulated] == "true") {
			differs = append(differs, fmt.Sprintf("%s %s, and %s tells %s", field, value, o.Identity.Sources[field], known))
		}
		o.Identity.set(field, value, startupLog)
	}
	for name, value := range s.live {
		if _, known := o.Live[name]; !known {
			o.Live[name] = value
		}
	}
	o.Answers[startupLog] = fmt.Sprintf("%d fields", len(s.values))
	if len(differs) > 0 {
		o.Answers[startupLog] += "; differs: " + strings.Join(differs, "; ")
	}
}
