package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// An Access is how to reach an endpoint. It is no part of its identity.
type Access struct {
	URL      string // http://host:8000, with or without /v1
	APIKey   string // bearer token; "" is none. It must reach no log and no file
	CAFile   string // PEM certificates to trust beside the system's
	Insecure bool   // trust any certificate
	Log      string // path of the server's log, if it is on this machine
	DCGM     string // pages of dcgm-exporter on the nodes that serve, separated by spaces
}

// The names under which a Hold offers an endpoint to the steps wired to it.
const (
	liveURL       = "url"
	liveAPIKeyEnv = "api_key_env" // the name of an environment variable
	liveCAFile    = "ca_file"
	liveInsecure  = "insecure_skip_verify"
	liveLog       = "log"
	liveDCGM      = "dcgm_urls" // separated by spaces
)

// Live returns the access as a Hold hands it out: the key by the name of its
// environment variable.
func (a Access) Live(apiKeyEnv string) map[string]string {
	live := map[string]string{liveURL: a.URL}
	for name, value := range map[string]string{liveAPIKeyEnv: apiKeyEnv, liveCAFile: a.CAFile, liveLog: a.Log, liveDCGM: a.DCGM} {
		if value != "" {
			live[name] = value
		}
	}
	if a.Insecure {
		live[liveInsecure] = "true"
	}
	return live
}

// AccessOf reads what Live wrote. secret returns the value of an environment
// variable.
func AccessOf(live map[string]string, secret func(name string) (string, error)) (Access, error) {
	a := Access{URL: live[liveURL], CAFile: live[liveCAFile], Insecure: live[liveInsecure] == "true", Log: live[liveLog], DCGM: live[liveDCGM]}
	if a.URL == "" {
		return Access{}, errors.New("the step wired to port server offers no url; wire a step of kind serve")
	}
	if name := live[liveAPIKeyEnv]; name != "" {
		var err error
		if a.APIKey, err = secret(name); err != nil {
			return Access{}, fmt.Errorf("API key of the endpoint: %w", err)
		}
	}
	return a, nil
}

// Cause returns what the server's log says of its end, "" if there is no log
// or it says nothing.
func (a Access) Cause() string {
	if a.Log == "" {
		return ""
	}
	f, err := os.Open(a.Log)
	if err != nil {
		return ""
	}
	defer f.Close()
	return RootCause(f)
}

// tailBytes is how much of a log Tail returns at most.
const tailBytes = 8 << 10

// Tail returns the end of the server's log, "" if there is none here.
func (a Access) Tail() string {
	if a.Log == "" {
		return ""
	}
	f, err := os.Open(a.Log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(b), "")
}

func (a Access) tls() (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: a.Insecure}
	if a.CAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("certificates of the endpoint: %w", err)
	}
	if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
		conf.RootCAs = x509.NewCertPool()
	}
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates of the endpoint: %s holds no PEM certificate", a.CAFile)
	}
	return conf, nil
}

// ParseURL reads the address of an OpenAI-compatible server, without the /v1
// of its API. A user or password in it is refused: secrets come by name.
func ParseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		// The text of url.Error holds the address, which may hold a secret.
		return nil, errors.New("the address is not a URL such as http://host:8000")
	case u.User != nil:
		return nil, errors.New("the address holds a user or password: name an environment variable in api_key_env instead")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, fmt.Errorf("%q is not a URL such as http://host:8000", address)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the address has a query or a fragment; want a URL such as http://host:8000")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1"), "/")
	u.RawPath = ""
	return u, nil
}
