package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"pipeline/lake/perf"
)

// A calibration is what this client can do on this machine, against a server
// in this process that answers at once. The server takes its share of the
// cores, so the numbers are on the low side.
type calibration struct {
	requestUS  float64 // median µs from sending to the end of an answer of one token, one stream
	eventsPerS float64 // content events a second over calibrationStreams streams
}

const (
	calibrationRequests = 200
	calibrationStreams  = 8
	calibrationEvents   = 500 // an answer
)

// calibrate fills r.calibration.
func (r *run) calibrate(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(instantAnswer)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Close()
		<-served
	}()
	w := perf.Workload{API: Completions, Arrival: perf.Closed, Concurrency: 1, NumPrompts: calibrationRequests, ISL: 8, OSL: 1}
	conf := Config{BaseURL: "http://" + l.Addr().String(), Model: "instant", Workload: w}
	one, err := Run(ctx, conf)
	if err != nil {
		return err
	}
	conf.Workload.Concurrency, conf.Workload.OSL = calibrationStreams, calibrationEvents
	conf.Workload.NumPrompts = 4 * calibrationStreams
	many, err := Run(ctx, conf)
	if err != nil {
		return err
	}
	a := perf.Summarize(one.Requests, perf.Whole(one.Requests), w)
	b := perf.Summarize(many.Requests, perf.Whole(many.Requests), conf.Workload)
	if a.E2E == nil || b.OutputThroughput == nil {
		return fmt.Errorf("the server in this process gave no answer")
	}
	r.calibration = calibration{requestUS: a.E2E.P50 * 1000, eventsPerS: *b.OutputThroughput}
	return nil
}

// instantAnswer streams as many tokens as were asked, at once.
func instantAnswer(w http.ResponseWriter, req *http.Request) {
	var asked struct {
		MaxTokens int `json:"max_tokens"`
	}
	if req.URL.Path != "/v1/completions" {
		http.NotFound(w, req)
		return
	}
	if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for range asked.MaxTokens {
		if _, err := fmt.Fprint(w, "data: {\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\" a\"}]}\n\n"); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
	}
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", asked.MaxTokens)
}
