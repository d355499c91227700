package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pipeline/internal/prom"
)

const (
	requestTimeout = 10 * time.Second
	maxBody        = 16 << 20
)

// A Client asks an endpoint about itself. It is not what sends the load.
type Client struct {
	base   *url.URL
	apiKey string
	http   *http.Client
}

// NewClient returns a client. The API key is sent as a bearer token and cut out
// of all answers.
func NewClient(a Access) (*Client, error) {
	base, err := ParseURL(a.URL)
	if err != nil {
		return nil, err
	}
	conf, err := a.tls()
	if err != nil {
		return nil, err
	}
	// A transport of its own, so that idle connections of the probe are no
	// part of the load. No proxy: the load has none either.
	transport := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second}
	return &Client{base: base, apiKey: a.APIKey, http: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// URL returns the address of the server, without /v1.
func (c *Client) URL() string { return c.base.String() }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// An Answer is what the server said to one request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Head returns the status and the head of the body on one line, for messages.
func (a Answer) Head() string {
	body := strings.Join(strings.Fields(string(a.Body[:min(len(a.Body), 1000)])), " ")
	if len(body) > 200 {
		body = strings.ToValidUTF8(body[:200], "") + "…"
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", a.Status, body))
}

// Do sends one request without a body. An error means that there was no answer.
func (c *Client) Do(ctx context.Context, method, path string) (Answer, error) {
	path, query, _ := strings.Cut(path, "?")
	u := c.base.JoinPath(path)
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return Answer{}, err
	}
	if c.apiKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.apiKey)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: read the answer: %w", method, u, err)
	}
	if c.apiKey != "" {
		body = bytes.ReplaceAll(body, []byte(c.apiKey), []byte("[redacted]"))
	}
	return Answer{resp.StatusCode, resp.Header, body}, nil
}

// ErrNoMetrics says that the server has no /metrics.
var ErrNoMetrics = errors.New("the server has no /metrics")

// Scrape reads /metrics. A server without it gives ErrNoMetrics.
func (c *Client) Scrape(ctx context.Context) (prom.Snapshot, error) {
	a, err := c.Do(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return prom.Snapshot{}, err
	}
	if a.Status != http.StatusOK {
		return prom.Snapshot{}, fmt.Errorf("%w (%s)", ErrNoMetrics, a.Head())
	}
	return prom.Parse(bytes.NewReader(a.Body))
}

// ResetPrefixCache empties the prefix cache, as vLLM in development mode
// allows. The error says why it is not empty.
func (c *Client) ResetPrefixCache(ctx context.Context) error {
	a, err := c.Do(ctx, http.MethodPost, "/reset_prefix_cache")
	if err != nil {
		return err
	}
	var said struct {
		Success *bool `json:"success"`
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("POST /reset_prefix_cache: %s", a.Head())
	}
	// Some versions answer 200 and say in the body that they refused.
	if json.Unmarshal(a.Body, &said) == nil && said.Success != nil && !*said.Success {
		return fmt.Errorf("POST /reset_prefix_cache: the server refused: %s", a.Head())
	}
	return nil
}
