package realparts

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// volatile lists what differs from run to run or from one processor to another.
func volatile(stream string) string {
	for _, v := range [][2]string{
		{`("id": ?)"(chat)?cmpl-[0-9A-Za-z]+"`, `$1"ID"`},
		{`("created": ?)[0-9]+`, `${1}0`},
		{`("text": ?|"content": ?)"([^"\\]|\\.)+"`, `$1"TEXT"`},
		{`"timings":\{[^}]*\}`, `"timings":{}`},
	} {
		stream = regexp.MustCompile(v[0]).ReplaceAllString(stream, v[1])
	}
	return stream
}

// checkStream posts a request for a stream and compares every byte of it.
func checkStream(t *testing.T, url, request, want string) {
	t.Helper()
	resp, body := post(t, url, request)
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
		t.Errorf("%s: status %d, type %q", url, resp.StatusCode, got)
	}
	if got := volatile(body); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("%s of %s\ngot:\n%s\nwant:\n%s", url, request, got, want)
	}
}

func checkPost(t *testing.T, url, request string, status int, want string) {
	t.Helper()
	resp, body := post(t, url, request)
	if resp.StatusCode != status || !strings.Contains(body, want) {
		t.Errorf("POST %s: status %d, body %.300s; want status %d and %s", url, resp.StatusCode, body, status, want)
	}
}

func checkGet(t *testing.T, url string, status int, want string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body := readAll(t, resp)
	if resp.StatusCode != status || !strings.Contains(body, want) {
		t.Errorf("GET %s: status %d, body %.300s; want status %d and %s", url, resp.StatusCode, body, status, want)
	}
}

func post(t *testing.T, url, request string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	// An empty list is not sent, but lets the transport repeat a request that
	// it sent on a connection which the server was closing (checkCloses).
	req.Header["Idempotency-Key"] = nil
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp, readAll(t, resp)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// completionTokens returns the server's own count.
func completionTokens(t *testing.T, body string) int {
	t.Helper()
	m := regexp.MustCompile(`"completion_tokens":([0-9]+)`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no completion_tokens in %s", body)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
