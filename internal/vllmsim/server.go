package vllmsim

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pipeline/internal/sol"
)

// reportedVersion is what /version says: the vLLM release whose API and
// metrics are copied, with a local part that names the simulator.
const reportedVersion = "0.26.0+vllmsim." + Version

// SimulatedHeader is on every response; its value is "vllmsim/<Version>".
const SimulatedHeader = "X-Pipeline-Simulated"

// A Server is a simulated vLLM server: an http.Handler that the caller puts
// behind a listener. Close it when the listener is closed.
type Server struct {
	config       Config
	deployment   *sol.Deployment
	limits       limits
	quantization string // in effect, in vLLM's words; "" for none
	engine       *engine
	collector    *collector
	writer       writer
	mux          *http.ServeMux
	faults       atomic.Pointer[activeFaults]
	requests     atomic.Uint64 // generation requests so far
	quit         chan struct{}
	closing      sync.Once
}

// activeFaults are faults with the number of requests at which they were set.
type activeFaults struct {
	Faults
	since uint64
}

// New starts a simulated server. The error says what vLLM would say to the
// same arguments, or what cannot be simulated.
func New(config Config) (*Server, error) {
	s, err := build(config)
	if err != nil {
		return nil, err
	}
	s.engine.log.started(&s.config, s)
	go s.engine.run()
	go s.collector.run(s.quit)
	return s, nil
}

// build makes a server whose engine does not run yet.
func build(config Config) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	deployment, err := config.deploy()
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	limits, err := config.limits(deployment)
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	s := &Server{config: config, deployment: deployment, limits: limits, quit: make(chan struct{})}
	s.quantization = quantizationOf(deployment.Shape.MainFormat())
	s.faults.Store(&activeFaults{Faults: config.Faults})
	s.engine = &engine{
		sched: &scheduler{
			maxSeqs: config.MaxNumSeqs, maxTokens: config.MaxNumBatchedTokens, chunked: config.EnableChunkedPrefill,
			pool: newBlockPool(config.BlockSize, limits.blocks, config.EnablePrefixCaching),
		},
		pricing: pricing{
			deployment: deployment, efficiency: config.Efficiency, overhead: config.StepOverhead,
			collective: config.CollectiveLatency, scale: config.TimeScale,
		},
		metrics: newMetrics(limits.maxModelLen, deployment.KVBytesPerToken(), limits.blocks),
		log:     &logger{out: config.Log},
		inbox:   inbox{wake: make(chan struct{}, 1)},
		born:    time.Now(),
		quit:    s.quit,
		stopped: make(chan struct{}),
	}
	ceilings, err := config.ceilings()
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	s.collector = newCollector(s, ceilings)
	s.routes()
	return s, nil
}

// Close stops the engine and cuts the streams that are open.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.quit) })
	<-s.engine.stopped
	return nil
}

// Totals returns the account of all steps so far.
func (s *Server) Totals() Totals {
	s.engine.metrics.mu.Lock()
	defer s.engine.metrics.mu.Unlock()
	return s.engine.metrics.totals
}

// MaxModelLen is the longest sequence in tokens, prompt and answer together.
func (s *Server) MaxModelLen() int { return s.limits.maxModelLen }

// KVCacheTokens is the capacity of the KV cache.
func (s *Server) KVCacheTokens() int { return s.limits.kvTokens }

// SetFaults replaces the faults, as POST /sim/faults does.
func (s *Server) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.faults.Store(&activeFaults{Faults: f, since: s.requests.Load()})
	if f.Crash {
		s.engine.crash()
	}
	return nil
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"POST /v1/completions":      s.serveCompletions,
		"POST /v1/chat/completions": s.serveChat,
		"GET /v1/models":            s.serveModels,
		"POST /tokenize":            s.serveTokenize,
		"POST /detokenize":          s.serveDetokenize,
		"GET /metrics":              s.serveMetricsUnlessFaulty,
		"GET /dcgm/metrics":         s.serveDCGM,
		"GET /health":               s.serveHealth,
		"GET /ping":                 s.serveHealth,
		"POST /ping":                s.serveHealth,
		"GET /version":              s.serveVersion,
		"GET /server_info":          s.serveServerInfo,
		"POST /reset_prefix_cache":  s.serveResetPrefixCache,
		"GET /sim/faults":           s.serveGetFaults,
		"POST /sim/faults":          s.serveSetFaults,
		"/":                         serveNotFound,
	} {
		s.mux.HandleFunc(pattern, handler)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(SimulatedHeader, "vllmsim/"+Version)
	if !s.authorised(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// authorised checks the bearer token, which vLLM wants for /v1 only.
func (s *Server) authorised(r *http.Request) bool {
	if s.config.APIKey == "" || !strings.HasPrefix(r.URL.Path, "/v1") {
		return true
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare([]byte(key), []byte(s.config.APIKey)) == 1
}

// ready is false while a slow start holds the model back.
func (s *Server) ready() bool { return s.engine.now() >= s.faults.Load().SlowStart }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may be gone, and nobody else could be told.
	_ = json.NewEncoder(w).Encode(v)
}

func serveNotFound(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]string{"detail": "Not Found"})
}

// An apiError is a refusal in vLLM's shape.
type apiError struct {
	status  int
	message string
	param   string
}

func badRequest(param, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, fmt.Sprintf(format, args...), param}
}

func errEngineDead() *apiError {
	return &apiError{http.StatusInternalServerError, engineDead, ""}
}

func (e *apiError) kind() string {
	switch e.status {
	case http.StatusBadRequest:
		return "BadRequestError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusTooManyRequests:
		return "RateLimitError"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableError"
	}
	return "InternalServerError"
}

func (e *apiError) body() map[string]any {
	var param any
	if e.param != "" {
		param = e.param
	}
	return map[string]any{"error": map[string]any{"message": e.message, "type": e.kind(), "param": param, "code": e.status}}
}

func (e *apiError) write(w http.ResponseWriter) { writeJSON(w, e.status, e.body()) }
