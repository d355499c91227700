package dcgm

import (
	"cmp"
	"fmt"
	"slices"
)

// A Field is a field of DCGM, by the id that never changed.
type Field int

// The fields that evidence is made of.
const (
	SMClock          Field = 100
	MemClock         Field = 101
	ClockReasons     Field = 112
	MaxSMClock       Field = 113
	GPUTemp          Field = 150
	Power            Field = 155
	Energy           Field = 156
	XID              Field = 230
	PowerViolation   Field = 240
	ThermalViolation Field = 241
	ECCDoubleBit     Field = 311
	RemappedRows     Field = 393
	RemapFailure     Field = 395
	GR               Field = 1001
	SM               Field = 1002
	Occupancy        Field = 1003
	Tensor           Field = 1004
	DRAM             Field = 1005
	PCIeTx           Field = 1009
	PCIeRx           Field = 1010
	NVLinkTx         Field = 1011
	NVLinkRx         Field = 1012
	SMCyclesElapsed  Field = 1084
	SMCyclesActive   Field = 1085
	MMACyclesActive  Field = 1086
	PCIeTxTotal      Field = 1091
	PCIeRxTotal      Field = 1092
)

// A Unit is what a value of a field counts.
type Unit string

// The units of fields. Names that end in _RATIO are not all ratios: GPU_UTIL
// is an integer percentage under both of its names.
const (
	Ratio       Unit = "ratio" // 0 to 1
	Percent     Unit = "percent"
	BytesPerS   Unit = "bytes/s"
	Bytes       Unit = "bytes"
	MHz         Unit = "MHz"
	Celsius     Unit = "°C"
	Watts       Unit = "W"
	Millijoules Unit = "mJ"
	Nanoseconds Unit = "ns"
	MiB         Unit = "MiB"
	Mask        Unit = "mask"
	Cycles      Unit = "cycles"
	Code        Unit = "code"
	Count       Unit = "count"
)

// A FieldInfo is what is known of a field.
type FieldInfo struct {
	ID      Field
	Name    string // today's, of NVIDIA/DCGM's dcgm_fields.h
	Legacy  string // before the renaming of 2026; "" if it was not renamed
	Short   string // in the header of dcgmi dmon
	Title   string // for people
	Unit    Unit
	Counter bool // only grows; else a gauge. 1009 to 1012 are gauges: rates
}

// Profiling reports whether the field is a figure of the profiling module: a
// mean over the collect interval.
func (f Field) Profiling() bool { return f >= 1001 && f <= 1075 }

// fields is in the order of ids. Names and ids are those of NVIDIA/DCGM at
// 72fa3fe; testdata/fields.tsv was made from it, and a test compares.
var fields = []FieldInfo{
	{SMClock, "DCGM_FI_DEV_SM_CLOCK", "", "SMCLK", "SM clock", MHz, false},
	{MemClock, "DCGM_FI_DEV_MEM_CLOCK", "", "MMCLK", "memory clock", MHz, false},
	{ClockReasons, "DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "DVCCTR", "clock event reasons", Mask, false},
	{MaxSMClock, "DCGM_FI_DEV_MAX_SM_CLOCK", "", "SMMAX", "highest SM clock", MHz, false},
	{140, "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", "DCGM_FI_DEV_MEMORY_TEMP", "MMTMP", "memory temperature", Celsius, false},
	{GPUTemp, "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_GPU_TEMP", "TMPTR", "GPU temperature", Celsius, false},
	{Power, "DCGM_FI_DEV_BOARD_POWER_WATTS", "DCGM_FI_DEV_POWER_USAGE", "POWER", "power", Watts, false},
	{Energy, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "", "TOTEC", "energy", Millijoules, true},
	{203, "DCGM_FI_DEV_GPU_UTIL_RATIO", "DCGM_FI_DEV_GPU_UTIL", "GPUTL", "GPU utilisation", Percent, false},
	{204, "DCGM_FI_DEV_MEM_COPY_UTIL", "", "MCUTL", "memory copy utilisation", Percent, false},
	{XID, "DCGM_FI_DEV_XID_ERROR", "DCGM_FI_DEV_XID_ERRORS", "XIDER", "last XID error", Code, false},
	{PowerViolation, "DCGM_FI_DEV_POWER_VIOLATION", "", "PVIOL", "time below the clock for power", Nanoseconds, true},
	{ThermalViolation, "DCGM_FI_DEV_THERMAL_VIOLATION", "", "TVIOL", "time below the clock for heat", Nanoseconds, true},
	{252, "DCGM_FI_DEV_FB_USED", "", "FBUSD", "memory used", MiB, false},
	{ECCDoubleBit, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "", "", "double-bit ECC errors", Count, true},
	{RemappedRows, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "", "", "memory rows remapped", Count, true},
	{RemapFailure, "DCGM_FI_DEV_ROW_REMAP_FAILURE", "", "", "a row could not be remapped", Code, false},
	{GR, "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "GRACT", "graphics engine active", Ratio, false},
	{SM, "DCGM_FI_PROF_SM_UTIL_RATIO", "DCGM_FI_PROF_SM_ACTIVE", "SMACT", "SM active", Ratio, false},
	{Occupancy, "DCGM_FI_PROF_SM_OCCUPANCY_RATIO", "DCGM_FI_PROF_SM_OCCUPANCY", "SMOCC", "SM occupancy", Ratio, false},
	{Tensor, "DCGM_FI_PROF_TENSOR_UTIL_RATIO", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "TENSO", "tensor pipes active", Ratio, false},
	{DRAM, "DCGM_FI_PROF_DRAM_UTIL_RATIO", "DCGM_FI_PROF_DRAM_ACTIVE", "DRAMA", "memory active", Ratio, false},
	{1006, "DCGM_FI_PROF_FP64_UTIL_RATIO", "DCGM_FI_PROF_PIPE_FP64_ACTIVE", "FP64A", "FP64 pipe active", Ratio, false},
	{1007, "DCGM_FI_PROF_FP32_UTIL_RATIO", "DCGM_FI_PROF_PIPE_FP32_ACTIVE", "FP32A", "FP32 pipe active", Ratio, false},
	{1008, "DCGM_FI_PROF_FP16_UTIL_RATIO", "DCGM_FI_PROF_PIPE_FP16_ACTIVE", "FP16A", "FP16 pipe active", Ratio, false},
	{PCIeTx, "DCGM_FI_PROF_PCIE_TX_BYTES", "", "PCITX", "PCIe sent", BytesPerS, false},
	{PCIeRx, "DCGM_FI_PROF_PCIE_RX_BYTES", "", "PCIRX", "PCIe received", BytesPerS, false},
	{NVLinkTx, "DCGM_FI_PROF_NVLINK_TX_BYTES", "", "NVLTX", "NVLink sent", BytesPerS, false},
	{NVLinkRx, "DCGM_FI_PROF_NVLINK_RX_BYTES", "", "NVLRX", "NVLink received", BytesPerS, false},
	{1013, "DCGM_FI_PROF_IMMA_UTIL_RATIO", "DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE", "TIMMA", "integer tensor pipe active", Ratio, false},
	{1014, "DCGM_FI_PROF_HMMA_UTIL_RATIO", "DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE", "THMMA", "half tensor pipe active", Ratio, false},
	{1015, "DCGM_FI_PROF_DFMA_UTIL_RATIO", "DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE", "TDFMA", "double tensor pipe active", Ratio, false},
	{1016, "DCGM_FI_PROF_INT_UTIL_RATIO", "DCGM_FI_PROF_PIPE_INT_ACTIVE", "INTAC", "integer pipe active", Ratio, false},
	{SMCyclesElapsed, "DCGM_FI_PROF_SM_CYCLES_ELAPSED_TOTAL", "", "SMCELAP", "SM cycles", Cycles, true},
	{SMCyclesActive, "DCGM_FI_PROF_SM_CYCLES_ACTIVE_TOTAL", "", "SMCACT", "SM cycles active", Cycles, true},
	{MMACyclesActive, "DCGM_FI_PROF_MMA_CYCLES_ACTIVE_TOTAL", "", "MMACACT", "tensor cycles active", Cycles, true},
	{PCIeTxTotal, "DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL", "", "PCICTX", "PCIe bytes sent", Bytes, true},
	{PCIeRxTotal, "DCGM_FI_PROF_PCIE_RX_BYTES_TOTAL", "", "PCICRX", "PCIe bytes received", Bytes, true},
}

// Info returns what is known of a field.
func (f Field) Info() (FieldInfo, bool) {
	i, ok := slices.BinarySearchFunc(fields, f, func(i FieldInfo, f Field) int { return cmp.Compare(i.ID, f) })
	if !ok {
		return FieldInfo{ID: f}, false
	}
	return fields[i], true
}

// Names returns the names under which a source may have the field, the name
// that most exporters have today first.
func (f Field) Names() []string {
	info, ok := f.Info()
	switch {
	case !ok:
		return nil
	case info.Legacy != "":
		return []string{info.Legacy, info.Name}
	}
	return []string{info.Name}
}

// String prints the id and the name that most sources have today.
func (f Field) String() string {
	names := f.Names()
	if len(names) == 0 {
		return fmt.Sprintf("field %d", int(f))
	}
	return fmt.Sprintf("%d %s", int(f), names[0])
}

// FieldNamed finds a field by either of its names.
func FieldNamed(name string) (Field, bool) {
	if name == "" {
		return 0, false
	}
	return find(func(i FieldInfo) bool { return i.Name == name || i.Legacy == name })
}

// fieldShort finds a field by its name in the header of dcgmi dmon.
func fieldShort(short string) (Field, bool) {
	if short == "" {
		return 0, false
	}
	return find(func(i FieldInfo) bool { return i.Short == short })
}

func find(is func(FieldInfo) bool) (Field, bool) {
	i := slices.IndexFunc(fields, is)
	if i < 0 {
		return 0, false
	}
	return fields[i].ID, true
}

// Needed returns the fields without which there is no L3: with links, those of
// NVLink too.
func Needed(links bool) []Field {
	needed := []Field{GR, SM, Tensor, DRAM}
	if links {
		needed = append(needed, NVLinkTx, NVLinkRx)
	}
	return needed
}

// Asked returns the fields that a capture asks for: those needed, and those
// that checks and readers use besides.
func Asked() []Field {
	return []Field{
		GR, SM, Occupancy, Tensor, DRAM, PCIeTx, PCIeRx, NVLinkTx, NVLinkRx,
		SMCyclesElapsed, SMCyclesActive, MMACyclesActive, PCIeTxTotal, PCIeRxTotal,
		SMClock, MemClock, ClockReasons, MaxSMClock, GPUTemp, Power, Energy,
		XID, ThermalViolation, ECCDoubleBit, RemappedRows, RemapFailure,
	}
}

// blank reports whether a value stands for one that DCGM could not give: its
// sentinels for 64-bit integers (from 0x7ffffffffffffff0), 32-bit integers
// (from 0x7ffffff0) and doubles (from 2^47), which older exporters let pass.
func (i FieldInfo) blank(v float64) bool {
	switch i.Unit {
	case Bytes, BytesPerS, Cycles, Nanoseconds, Millijoules: // of 64 bits, and large
		return v >= 0x7ffffffffffffff0
	}
	return v >= 0x7ffffff0
}

// The range of a ratio, with room for rounding and for intervals that were a
// little longer than the one divided by.
const (
	ratioLow  = -0.001
	ratioHigh = 1.02
)
