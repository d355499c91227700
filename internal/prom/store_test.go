package prom

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestNewStoreRefuses(t *testing.T) {
	for address, want := range map[string]string{
		"":                          "is not a URL such as http://host:9090",
		"prometheus:9090":           "is not a URL such as http://host:9090",
		"http://me:s3cr3t@host":     "holds a user or password: name environment variables instead",
		"ftp://host":                "is not a URL",
		"http://[::1":               "is not a URL such as http://host:9090",
		"http://host:9090/prom?x=1": "",
	} {
		_, err := NewStore(Access{URL: address})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: the error holds the secret: %v", address, err)
		}
	}
}

// The left end is open whatever the server does: version 2 gives a sample at
// the very start, version 3 does not.
func TestRawCutsTheSpan(t *testing.T) {
	const answer = `{"status":"success","data":{"resultType":"%s","result":%s}}`
	kind, result := "matrix", `[{"metric":{"__name__":"x","gpu":"0"},"values":[[100,"1"],[101,"2"],[102.5,"NaN"],[110,"4"],[110.001,"5"]]},{"metric":{"__name__":"x","gpu":"1"},"values":[[90,"1"]]}]`
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.FormValue("query") + " at " + r.FormValue("time")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, answer, kind, result)
	}))
	defer server.Close()
	s, err := NewStore(Access{URL: server.URL + "/", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	series, query, err := s.Raw(t.Context(), `x{gpu="0"}`, time.Unix(100, 0), time.Unix(110, 0))
	if err != nil {
		t.Fatal(err)
	}
	if query != `x{gpu="0"}[10001ms]` || asked != query+" at 110" {
		t.Errorf("asked %s, said %s", asked, query)
	}
	if len(series) != 1 || fmt.Sprint(series[0].T) != "[101000 102500 110000]" || fmt.Sprint(series[0].V) != "[2 NaN 4]" || series[0].Labels["gpu"] != "0" {
		t.Errorf("%+v", series)
	}
	kind, result = "vector", "[]"
	if _, _, err := s.Raw(t.Context(), "x", time.Unix(100, 0), time.Unix(110, 0)); err == nil || !strings.Contains(err.Error(), "gives a vector, not samples") {
		t.Error(err)
	}
	if _, err := s.Skew(t.Context(), time.Now); err == nil || !strings.Contains(err.Error(), "its time is a vector") {
		t.Error(err)
	}
}

// A clock that is 7 s ahead is seen to be, apart from how long the answer takes.
func TestSkew(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"%d"]}}`, now.Unix()+7)
	}))
	defer server.Close()
	s, err := NewStore(Access{URL: server.URL, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if skew, err := s.Skew(t.Context(), func() time.Time { return now }); err != nil || skew != 7*time.Second {
		t.Errorf("%v, %v", skew, err)
	}
}

// A token is sent to the address that was given, and to no other.
func TestStoreFollowsNoRedirect(t *testing.T) {
	var leaked string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("Authorization") }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }))
	defer server.Close()
	s, err := NewStore(Access{URL: server.URL, Token: "s3cr3t", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Skew(t.Context(), time.Now); err == nil || leaked != "" || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%v; the other server got %q", err, leaked)
	}
}
