package prom

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Fetch reads one page of an exporter.
func Fetch(ctx context.Context, client *http.Client, url string) (Snapshot, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Snapshot{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Snapshot{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// The rest is read so that the connection can be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		return Snapshot{}, fmt.Errorf("GET %s: HTTP %d", url, resp.StatusCode)
	}
	return Parse(resp.Body)
}
