package prom

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// An Access is how to reach a Prometheus server.
type Access struct {
	URL            string // http://host:9090, perhaps with a path
	Token          string // bearer token; "" is none
	User, Password string // basic authentication; "" is none
	CAFile         string // PEM certificates to trust beside the system's
	Insecure       bool   // trust any certificate
	Timeout        time.Duration
}

// A Store is a Prometheus server, or what speaks its API: what it scraped can
// be asked for by time.
type Store struct {
	api  v1.API
	host string
}

// NewStore returns a client. It asks nothing yet.
func NewStore(a Access) (*Store, error) {
	u, err := url.Parse(a.URL)
	switch {
	case err != nil: // its text holds the address, which may hold a secret
		return nil, errors.New("the address of Prometheus is not a URL such as http://host:9090")
	case u.User != nil:
		return nil, errors.New("the address of Prometheus holds a user or password: name environment variables instead")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, fmt.Errorf("%q is not a URL such as http://host:9090", a.URL)
	}
	conf := &tls.Config{InsecureSkipVerify: a.Insecure}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificates of Prometheus: %w", err)
		}
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			conf.RootCAs = x509.NewCertPool()
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificates of Prometheus: %s holds no PEM certificate", a.CAFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = conf
	client, err := api.NewClient(api.Config{Address: a.URL, Client: &http.Client{
		Timeout: a.Timeout, Transport: &authorised{base: transport, access: a},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes nowhere else
	}})
	if err != nil {
		return nil, fmt.Errorf("client of Prometheus: %w", err)
	}
	return &Store{api: v1.NewAPI(client), host: u.Host}, nil
}

// authorised adds who asks to each request.
type authorised struct {
	base   http.RoundTripper
	access Access
}

func (a *authorised) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	switch {
	case a.access.Token != "":
		r.Header.Set("Authorization", "Bearer "+a.access.Token)
	case a.access.User != "" || a.access.Password != "":
		r.SetBasicAuth(a.access.User, a.access.Password)
	}
	return a.base.RoundTrip(r)
}

// Host is the host and port that is asked.
func (s *Store) Host() string { return s.host }

// explain says what was asked of whom, and what an HTTP status means here.
func (s *Store) explain(what string, err error) error {
	hint := ""
	switch text := err.Error(); {
	case strings.Contains(text, "401"), strings.Contains(text, "403"):
		hint = "; name the environment variable of its token or password"
	case strings.Contains(text, "404"):
		hint = "; its API is expected below the address at /api/v1"
	}
	return fmt.Errorf("Prometheus at %s: %s: %w%s", s.host, what, err, hint)
}

// Version is that of the server, "" if it does not tell, as other stores with
// this API.
func (s *Store) Version(ctx context.Context) string {
	info, err := s.api.Buildinfo(ctx)
	if err != nil {
		return ""
	}
	return info.Version
}

// Skew is how far the server's clock is ahead of the one that now reads.
func (s *Store) Skew(ctx context.Context, now func() time.Time) (time.Duration, error) {
	before := now()
	value, _, err := s.api.Query(ctx, "time()", time.Time{})
	after := now()
	if err != nil {
		return 0, s.explain("ask for its time", err)
	}
	scalar, ok := value.(*model.Scalar)
	if !ok {
		return 0, fmt.Errorf("Prometheus at %s: its time is a %s", s.host, value.Type())
	}
	middle := before.Add(after.Sub(before) / 2)
	return time.Duration(float64(scalar.Value)*1e9 - float64(middle.UnixNano())), nil
}

// Series returns the labels of all series that one of the selectors matches
// and that have a sample in the span, the name under __name__.
func (s *Store) Series(ctx context.Context, selectors []string, from, to time.Time) ([]map[string]string, error) {
	sets, _, err := s.api.Series(ctx, selectors, from, to)
	if err != nil {
		return nil, s.explain("look for series", err)
	}
	out := make([]map[string]string, len(sets))
	for i, set := range sets {
		out[i] = make(map[string]string, len(set))
		for k, v := range set {
			out[i][string(k)] = string(v)
		}
	}
	return out, nil
}

// A RawSeries is what was scraped of one series: its samples with the times at
// which they were taken.
type RawSeries struct {
	Labels map[string]string // the name under __name__
	T      []int64           // unix ms
	V      []float64
}

// Raw returns the samples of a selector in (from, to], and the query that was
// asked.
//
// It is an instant query with a range selector: query_range would give values
// at its own steps, and repeat the last one for up to five minutes after a
// series has ended. Ranges are closed at their left end in version 2 and open
// in version 3, so that the end is cut here.
func (s *Store) Raw(ctx context.Context, selector string, from, to time.Time) ([]RawSeries, string, error) {
	query := fmt.Sprintf("%s[%dms]", selector, to.Sub(from).Milliseconds()+1)
	value, _, err := s.api.Query(ctx, query, to)
	if err != nil {
		return nil, query, s.explain(query, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, query, fmt.Errorf("Prometheus at %s: %s gives a %s, not samples", s.host, query, value.Type())
	}
	var out []RawSeries
	for _, stream := range matrix {
		one := RawSeries{Labels: make(map[string]string, len(stream.Metric))}
		for k, v := range stream.Metric {
			one.Labels[string(k)] = string(v)
		}
		for _, p := range stream.Values {
			if t := int64(p.Timestamp); t > from.UnixMilli() && t <= to.UnixMilli() {
				one.T, one.V = append(one.T, t), append(one.V, float64(p.Value))
			}
		}
		if len(one.T) > 0 {
			out = append(out, one)
		}
	}
	return out, query, nil
}
