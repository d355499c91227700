package foreign

import (
	"fmt"
	"io"

	"pipeline/internal/vllmbench"
)

// vllmTable is what package vllmbench reads, by the fields of the result file;
// the block of a log has the same numbers under labels: Median TTFT (ms).
var vllmTable = []Quantity{
	{Column: "ttft_ms", Field: "median_ttft_ms", Unit: "ms", Factor: 1, Doubt: true, Note: "to the first event with choices, which with the chat API may hold a role and no content"},
	{Column: "tpot_ms", Field: "median_tpot_ms", Unit: "ms", Factor: 1},
	{Column: "itl_ms", Field: "median_itl_ms", Unit: "ms", Factor: 1, Doubt: true, Note: "the gap between events of the stream, not between tokens"},
	{Column: "e2el_ms", Field: "median_e2el_ms", Unit: "ms", Factor: 1, Note: "only if --percentile-metrics asks for it"},
	{Column: "request_throughput_rps", Field: "request_throughput", Unit: "1/s", Factor: 1},
	{Column: "output_tps", Field: "output_throughput", Unit: "tok/s", Factor: 1},
	{Column: "total_tps", Field: "total_token_throughput", Unit: "tok/s", Factor: 1},
	{Column: "goodput_rps", Field: "request_goodput", Unit: "1/s", Factor: 1},
	{Column: "input_tokens", Field: "total_input_tokens", Unit: "tokens", Factor: 1},
	{Column: "output_tokens", Field: "total_output_tokens", Unit: "tokens", Factor: 1},
}

func readVLLM(r io.Reader) ([]Cell, error) {
	reports, err := vllmbench.ReadResults(r)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	for i, report := range reports {
		cells = append(cells, Cell{Report: report, Name: fmt.Sprintf("result %d", i+1)})
	}
	return cells, nil
}

func readVLLMLog(r io.Reader) ([]Cell, error) {
	blocks, err := vllmbench.ReadLog(r)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	for i, b := range blocks {
		cells = append(cells, Cell{Report: b.Report(), Name: fmt.Sprintf("block %d", i+1)})
	}
	return cells, nil
}
