package aiperf

import (
	"encoding/json"
	"fmt"
	"iter"
	"os"

	"pipeline/internal/jsonscan"
)

// A GPUSample is what one GPU was seen to do at one instant. A nil number was
// not told. Both generations of names are read (gpu_power_usage and
// nvidia_power_usage), and AMD's.
type GPUSample struct {
	TimeNS   int64 // wall clock
	Source   string
	UUID     string
	Index    int
	Model    string
	Host     string
	Platform string // nvidia, amd, or "" before it was told

	PowerW            *float64
	EnergyMJ          *float64 // since the driver was loaded
	UtilizationPct    *float64 // of time in which a kernel ran
	MemoryActivityPct *float64 // of time in which memory was read or written
	MemoryUsedGB      *float64
	TemperatureC      *float64
	SMActivePct       *float64 // DCGM_FI_PROF_SM_ACTIVE, or NVML's process utilisation
	SMClockMHz        *float64
	MemoryClockMHz    *float64
	PowerViolationUS  *float64 // throttled for power, since the driver was loaded
	XIDErrors         *float64

	Extra map[string]float64 // other fields, by AIPerf's name
}

// gpuFields are the names of each number, the newest first.
func gpuField(s *GPUSample, name string) **float64 {
	switch name {
	case "nvidia_power_usage", "gpu_power_usage", "amd_power":
		return &s.PowerW
	case "nvidia_energy_consumption", "energy_consumption", "amd_energy_consumption":
		return &s.EnergyMJ
	case "nvidia_gpu_utilization", "gpu_utilization", "amd_gfx_activity":
		return &s.UtilizationPct
	case "nvidia_memory_utilization", "mem_utilization", "memory_copy_utilization", "amd_umc_activity":
		return &s.MemoryActivityPct
	case "nvidia_memory_used", "gpu_memory_used", "amd_memory_used":
		return &s.MemoryUsedGB
	case "nvidia_temperature", "gpu_temperature", "amd_temperature":
		return &s.TemperatureC
	case "nvidia_sm_utilization", "sm_utilization":
		return &s.SMActivePct
	case "sm_clock_frequency", "nvidia_sm_clock_frequency":
		return &s.SMClockMHz
	case "memory_clock_frequency", "nvidia_memory_clock_frequency":
		return &s.MemoryClockMHz
	case "nvidia_power_violation", "power_violation":
		return &s.PowerViolationUS
	case "nvidia_xid_errors", "xid_errors":
		return &s.XIDErrors
	}
	return nil
}

// silent is how long the exporter that reports a GPU must be quiet before
// another one's samples of it are taken. AIPerf asks each every third of a second.
const silent = 2e9 // ns

// gpuSamples yields the samples of a telemetry file. Where two exporters report
// one GPU, those of the first are taken.
func gpuSamples(path, name string) iter.Seq2[*GPUSample, error] {
	return func(yield func(*GPUSample, error) bool) {
		type last struct {
			source string
			at     int64
		}
		reporter := map[string]last{} // of each GPU
		for list, err := range inOrder(path, gpuBlock) {
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", name, err))
				return
			}
			for i := range list {
				s := &list[i]
				if r, known := reporter[s.UUID]; known && r.source != s.Source && s.TimeNS-r.at < silent {
					continue
				}
				reporter[s.UUID] = last{s.Source, s.TimeNS}
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

func gpuBlock(_ int, b block) ([]GPUSample, error) {
	var list []GPUSample
	for n, line := range lines(b.text) {
		s, err := gpuSample(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", b.line+n, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func gpuSample(line []byte) (GPUSample, error) {
	var out GPUSample
	s := jsonscan.New(line)
	var key []byte
	var err error
	var index int32
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "timestamp_ns":
			if value := s.Skip(); err == nil {
				err = epoch("timestamp_ns", value, &out.TimeNS)
			}
		case "telemetry_source_url", "dcgm_url":
			out.Source, _ = s.Text()
		case "gpu_uuid":
			out.UUID, _ = s.Text()
		case "gpu_index":
			if value := s.Skip(); err == nil {
				err = whole32("gpu_index", value, &index)
			}
		case "gpu_model_name":
			out.Model, _ = s.Text()
		case "hostname":
			out.Host, _ = s.Text()
		case "platform":
			out.Platform, _ = s.Text()
		case "telemetry_data":
			var values map[string]*float64
			if e := json.Unmarshal(s.Skip(), &values); e != nil && s.Err() == nil && err == nil {
				err = &fieldError{"telemetry_data", e.Error()}
			}
			out.fill(values)
		default:
			s.Skip()
		}
	}
	out.Index = int(index)
	switch e := s.End(); {
	case e != nil:
		return out, fmt.Errorf("cut off or no JSON: %w", e)
	case err != nil:
		return out, err
	case out.TimeNS == 0:
		return out, &fieldError{"timestamp_ns", "it is missing"}
	case out.UUID == "":
		return out, &fieldError{"gpu_uuid", "it is missing"}
	}
	return out, nil
}

func (s *GPUSample) fill(values map[string]*float64) {
	for name, value := range values {
		switch field := gpuField(s, name); {
		case value == nil:
		case field != nil:
			*field = value
		default:
			if s.Extra == nil {
				s.Extra = map[string]float64{}
			}
			s.Extra[name] = *value
		}
	}
}

// hasLines reports whether a file is there and not empty: AIPerf makes an empty
// one where no GPU could be asked.
func (f *folder) hasLines(artifact string) bool {
	if !f.has(artifact) {
		return false
	}
	info, err := os.Stat(f.path(artifact))
	return err == nil && info.Size() > 0
}
