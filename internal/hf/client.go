package hf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultEndpoint is the hub.
const DefaultEndpoint = "https://huggingface.co"

// A Config is how to reach the hub.
type Config struct {
	Endpoint  string        // "" is DefaultEndpoint
	Token     string        // read token; "" is none. It must reach no log and no file
	TokenName string        // the environment variable it came from, for messages
	Pause     time.Duration // before the second try, doubled before each further one; 0 is DefaultPause
}

const (
	tries        = 5                // of a request
	longestPause = 60 * time.Second // between two tries, whatever the hub asks for
	idle         = 60 * time.Second // longest that an answer may pause
	maxAnswer    = 64 << 20         // bytes of an answer that is not a file

	// DefaultPause is how long a request waits before its second try.
	DefaultPause = time.Second
)

// A Client talks to one hub.
type Client struct {
	conf Config
	base *url.URL
	http *http.Client
}

// New returns a client. It talks to nobody yet.
func New(conf Config) (*Client, error) {
	conf.Endpoint = strings.TrimRight(cmp.Or(conf.Endpoint, DefaultEndpoint), "/")
	conf.Pause = cmp.Or(conf.Pause, DefaultPause)
	conf.TokenName = cmp.Or(conf.TokenName, "HF_TOKEN")
	base, err := url.Parse(conf.Endpoint)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil || base.RawQuery != "" {
		return nil, fmt.Errorf("hub %q: want an address such as %s", conf.Endpoint, DefaultEndpoint)
	}
	c := &Client{conf: conf, base: base}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = idle
	c.http = &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return errors.New("more than 5 redirects")
		}
		// The standard client keeps the token if only the port differs.
		if !c.own(req.URL) {
			req.Header.Del("Authorization")
		}
		return nil
	}}
	return c, nil
}

// Endpoint is the address of the hub.
func (c *Client) Endpoint() string { return c.conf.Endpoint }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// own reports whether u is of the hub itself, and not of a host that it sends to.
func (c *Client) own(u *url.URL) bool { return u.Scheme == c.base.Scheme && u.Host == c.base.Host }

// An unreachable error says that nobody answered, or that nobody wanted to.
type unreachable struct{ err error }

func (e *unreachable) Error() string { return e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// Unreachable reports whether the hub said nothing: it could not be reached,
// was out of order, or wanted fewer requests.
func Unreachable(err error) bool {
	var u *unreachable
	return errors.As(err, &u)
}

// get sends a request until it is answered with something other than "come
// again". The body must be closed.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	pause := c.conf.Pause
	for try := 1; ; try++ {
		resp, err := c.once(ctx, address, header)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		wait := pause
		switch {
		case err == nil && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500:
			return resp, nil
		case err == nil:
			if asked := retryAfter(resp.Header); asked > 0 {
				wait = asked
			}
			err = fmt.Errorf("answers %s", resp.Status)
			resp.Body.Close()
		case errors.Is(err, syscall.ECONNREFUSED): // nobody listens there: waiting brings nobody
			return nil, &unreachable{fmt.Errorf("the hub %s does not answer: %w: see whether its address is right, and whether it can be reached from here", c.conf.Endpoint, err)}
		default:
			err = fmt.Errorf("does not answer: %w", err)
		}
		if try == tries {
			return nil, &unreachable{fmt.Errorf("the hub %s %w (after %d tries): see whether it can be reached from here, or try later", c.conf.Endpoint, err, tries)}
		}
		if err := sleep(ctx, min(wait, longestPause)); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

func (c *Client) once(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "pipeline")
	req.Header.Set("Accept-Encoding", "identity") // sizes and digests are of the bytes as they are
	if c.conf.Token != "" && c.own(req.URL) {
		req.Header.Set("Authorization", "Bearer "+c.conf.Token)
	}
	resp, err := c.http.Do(req)
	var addressed *url.Error
	if errors.As(err, &addressed) {
		return nil, addressed.Err // without the address, which may be a signed link
	}
	return resp, err
}

var rateResetRE = regexp.MustCompile(`\bt=(\d+)`)

// retryAfter is how long the hub asks to wait, 0 if it does not say.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if text == "" {
		if m := rateResetRE.FindStringSubmatch(h.Get("RateLimit")); m != nil {
			text = m[1]
		}
	}
	s, err := strconv.Atoi(text)
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s), longestPause/time.Second) * time.Second
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// json reads a JSON answer of the hub into v, and returns its header.
func (c *Client) json(ctx context.Context, address string, about subject, v any) (http.Header, error) {
	resp, err := c.get(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.refusal(resp, about)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &unreachable{fmt.Errorf("the hub %s broke off its answer about data set %s: %w", c.conf.Endpoint, about.id, err)}
	}
	if v == nil {
		return resp.Header, nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("the hub %s answers about data set %s with something that is not its JSON: %w", c.conf.Endpoint, about.id, err)
	}
	return resp.Header, nil
}
