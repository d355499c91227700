package aiperf

import "bytes"

// knownMetric reports whether a metric of a record has been seen in a version
// of AIPerf. Those that are not used are in its summary too.
func knownMetric(tag []byte) bool {
	for _, start := range [][]byte{[]byte("http_req_"), []byte("usage_"), []byte("osl_mismatch"), []byte("spec_decode_"), []byte("network_"), []byte("video_"), []byte("image_"), []byte("audio_")} {
		if bytes.HasPrefix(tag, start) {
			return true
		}
	}
	switch string(tag) {
	case "time_to_second_token", "ttst", "time_to_first_output_token", "inter_token_latency", "output_token_count", "reasoning_token_count",
		"output_token_throughput_per_user", "prefill_throughput", "prefill_throughput_per_user", "e2e_output_token_throughput", "decode_duration",
		"full_decode_duration", "thinking_efficiency", "num_images", "rtfx", "requested_osl", "replay_send_schedule_offset", "credit_drop_latency",
		"credit_to_start_latency", "effective_latency", "stream_setup_latency", "stream_prefill_latency", "good_request_count", "request_count",
		"error_request_count", "context_overflow_count", "min_request_timestamp", "max_response_timestamp":
		return true
	}
	return false
}
