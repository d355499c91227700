package vllmsim

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A blockedClient is a response writer whose writes wait, as those to a client
// that does not read do, until it is released or given a deadline.
type blockedClient struct {
	*httptest.ResponseRecorder
	mu      sync.Mutex
	blocked chan struct{} // closed when a token's write has begun to wait
	release chan struct{}
}

func newBlockedClient() *blockedClient {
	return &blockedClient{ResponseRecorder: httptest.NewRecorder(), blocked: make(chan struct{}), release: make(chan struct{})}
}

func (c *blockedClient) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil // the headers pass
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.blocked:
	default:
		close(c.blocked)
	}
	<-c.release
	return 0, http.ErrHandlerTimeout
}

func (c *blockedClient) SetWriteDeadline(time.Time) error {
	close(c.release)
	return nil
}

// A client that does not read holds up nobody else, and its handler still
// returns when it goes away.
func TestBlockedClientHoldsUpNobody(t *testing.T) {
	s, url := start(t, nil)
	client := newBlockedClient()
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan any)
	go func() {
		defer func() { left <- recover() }()
		body := strings.NewReader(`{"prompt":"x","max_tokens":2000,"ignore_eos":true,"stream":true}`)
		s.ServeHTTP(client, httptest.NewRequestWithContext(ctx, "POST", "/v1/completions", body))
	}()
	<-client.blocked
	for range 3 {
		_, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":"y","max_tokens":50,"ignore_eos":true,"stream":true}`)
		if got, done := events(t, body); len(got) != 50 || !done {
			t.Fatalf("%d events, done %v", len(got), done)
		}
	}
	leave()
	if got := <-left; got != http.ErrAbortHandler {
		t.Errorf("the handler ended with %v", got)
	}
}
