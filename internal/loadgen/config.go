package loadgen

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"pipeline/lake/perf"
)

// The two APIs of an OpenAI-compatible server.
const (
	Chat        = "chat"        // /v1/chat/completions
	Completions = "completions" // /v1/completions
)

// DefaultTimeout ends a request when the workload names no limit.
const DefaultTimeout = 10 * time.Minute

// A Config is one run: where, what, and how.
type Config struct {
	BaseURL  string        // http://host:port, with or without /v1
	Model    string        // the name the endpoint serves
	Workload perf.Workload // what to ask; its API says chat or completions, its Seed draws prompts and arrivals

	Token  Token       // bearer token, empty for none
	Header http.Header // further headers of every request
	TLS    TLS         // for https

	// Conversations are the prompts, in order; nil makes synthetic ones of
	// Workload.ISL tokens. There must be enough for Workload.NumPrompts requests.
	Conversations []Conversation
	// Salt is put at the head of every synthetic prompt. Two runs with different
	// salts share no prefix, so the second finds nothing in a prefix cache.
	Salt string
	// ResetPrefixCache asks the server to drop its prefix cache before the
	// warm-up (vLLM in development mode). A refusal is a doubt.
	ResetPrefixCache bool

	Stall time.Duration // an answer that begins and then has no content for so long ends as an error; 0 is no limit but the request's own

	// BeforeMeasured runs when the warm-up is over and nothing is in flight,
	// AfterMeasured when the last measured request has ended: the places to
	// read the server's counters. An error of the first ends the run.
	BeforeMeasured func() error
	AfterMeasured  func()
	// OnProgress is called about every ProgressEvery from one goroutine.
	OnProgress func(Progress)

	// Calibrate measures the client against an instant server in this process
	// first, for about a third of a second, so that the result says what the
	// client can take.
	Calibrate bool

	onContent func(index int, text []byte, atNS int64) // for the fidelity benchmark: sees each content event
}

// A Token is a secret that no print shows.
type Token string

// String hides the token.
func (t Token) String() string { return redact(t) }

// GoString hides the token from %#v.
func (t Token) GoString() string { return redact(t) }

// MarshalText hides the token from JSON.
func (t Token) MarshalText() ([]byte, error) { return []byte(redact(t)), nil }

// LogValue hides the token from slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(redact(t)) }

func redact(t Token) string {
	if t == "" {
		return ""
	}
	return "[redacted]"
}

// TLS says how an https endpoint is trusted.
type TLS struct {
	CAFile             string // PEM certificates to trust beside the system's
	InsecureSkipVerify bool   // trust any certificate; the result carries a doubt
}

// Progress is how far a run is.
type Progress struct {
	Preparing bool    // prompts are being made and fitted; nothing is sent yet, Total is 0
	Warmup    bool    // the warm-up is running
	Done      int     // requests ended
	Failed    int     // of them, without an answer in full
	Total     int     // requests to do in this part
	InFlight  int     // requests sent and not ended
	TTFTms    float64 // median over the latest requests; 0 before the first
	OutputTPS float64 // content events a second, since the last call
}

// ProgressEvery is about how often OnProgress is called.
const ProgressEvery = 250 * time.Millisecond

// A Result is what a run saw.
type Result struct {
	Start    time.Time // wall clock at offset 0 of all *_ns, UTC
	End      time.Time
	Requests []perf.Request // warm-up first, then by Index
	Client   perf.Client
	Doubts   []string // warnings that travel with the numbers

	PromptDigest     string // SHA-256 of the measured prompts, hexadecimal
	Simulated        bool   // a response had the header X-Pipeline-Simulated
	Tokenizer        bool   // prompts were fitted with the endpoint's /tokenize
	PrefixCacheReset string // what the server answered to ResetPrefixCache; "" if not asked
}

// SimulatedHeader is the response header by which a simulated endpoint says so.
const SimulatedHeader = "X-Pipeline-Simulated"

// check refuses what cannot be run, all at once.
func (c *Config) check() error {
	w := &c.Workload
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	u, err := url.Parse(c.BaseURL)
	refuse(err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "", "base URL %q: want http://host:port or https://host:port", c.BaseURL)
	refuse(err == nil && (u.RawQuery != "" || u.Fragment != ""), "base URL %q: holds more than a path", c.BaseURL)
	refuse(err == nil && u.User != nil, "base URL: holds a user name or password; hand in a bearer token instead")
	refuse(c.Model == "", "model: is empty; give the name the endpoint serves")
	refuse(w.API != Chat && w.API != Completions, "api %q: want %s or %s", w.API, Chat, Completions)
	refuse(w.NumPrompts < 1, "num_prompts %d: want at least 1", w.NumPrompts)
	refuse(w.Warmup < 0, "warmup_requests %d: want 0 or more", w.Warmup)
	refuse(w.Turns < 0, "turns %d: want 0 or more", w.Turns)
	refuse(w.OSL < 0, "osl %d: want 0 (the server's default) or more", w.OSL)
	refuse(w.RampUpS < 0, "ramp_up_s %g: want 0 or more", w.RampUpS)
	refuse(w.RequestTimeoutS < 0 || c.Stall < 0, "timeouts: want 0 or more")
	switch w.Arrival {
	case perf.Closed:
		refuse(w.Concurrency < 1, "concurrency %d: a closed loop needs at least 1 stream", w.Concurrency)
		refuse(w.RequestRate != 0, "request_rate_rps %g: a closed loop has no rate; use arrival constant or poisson", w.RequestRate)
	case perf.Constant, perf.Poisson:
		refuse(!(w.RequestRate > 0), "request_rate_rps %g: arrival %s needs a rate above 0", w.RequestRate, w.Arrival)
		refuse(w.Concurrency < 0, "concurrency %d: want 0 (no limit) or more", w.Concurrency)
		refuse(w.RampUpS > 0, "ramp_up_s %g: only a closed loop has a ramp", w.RampUpS)
	default:
		refuse(true, "arrival %q: want %s, %s or %s", w.Arrival, perf.Closed, perf.Constant, perf.Poisson)
	}
	errs = append(errs, c.checkPrompts()...)
	return errors.Join(errs...)
}

func (c *Config) checkPrompts() []error {
	w := &c.Workload
	if c.Conversations == nil {
		var errs []error
		if w.ISL < 1 {
			errs = append(errs, fmt.Errorf("isl %d: synthetic prompts need at least 1 token", w.ISL))
		}
		if w.SharedPrefix < 0 || w.SharedPrefix > w.ISL {
			errs = append(errs, fmt.Errorf("shared_prefix %d: want 0 to isl, %d", w.SharedPrefix, w.ISL))
		}
		return errs
	}
	requests := 0
	for i, conv := range c.Conversations {
		if len(conv.Turns) == 0 {
			return []error{fmt.Errorf("conversation %d: has no turn", i)}
		}
		requests += c.turnsOf(conv)
	}
	if need := w.NumPrompts + w.Warmup; requests < need {
		return []error{fmt.Errorf("conversations: hold %d requests; %d measured and %d of warm-up need %d, since none is sent twice", requests, w.NumPrompts, w.Warmup, need)}
	}
	return nil
}

// turnsOf returns how many turns of a conversation are played: all, or as many
// as the workload asks.
func (c *Config) turnsOf(conv Conversation) int {
	if c.Workload.Turns > 0 {
		return min(c.Workload.Turns, len(conv.Turns))
	}
	return len(conv.Turns)
}

func (c *Config) timeout() time.Duration {
	return cmp.Or(time.Duration(c.Workload.RequestTimeoutS*float64(time.Second)), DefaultTimeout)
}

func (c *Config) open() bool { return c.Workload.Arrival != perf.Closed }

// root returns the base URL without a /v1 at its end: /tokenize and
// /reset_prefix_cache live beside it.
func (c *Config) root() string {
	return strings.TrimSuffix(strings.TrimRight(c.BaseURL, "/"), "/v1")
}

func (c *Config) url() string {
	if c.Workload.API == Chat {
		return c.root() + "/v1/chat/completions"
	}
	return c.root() + "/v1/completions"
}

// tlsConfig returns the client side of TLS, HTTP/1.1 only.
func (c *Config) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: c.TLS.InsecureSkipVerify, NextProtos: []string{"http/1.1"}}
	if c.TLS.CAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(c.TLS.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
		conf.RootCAs = x509.NewCertPool()
	}
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s: holds no PEM certificate", c.TLS.CAFile)
	}
	return conf, nil
}
