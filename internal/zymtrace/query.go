package zymtrace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/profile"
)

// A Query asks a ClickHouse server over HTTP. In SQL, {from_unix} and {to_unix}
// stand for the ends of the window in seconds since 1970, as whole numbers that
// hold all of it, {from_unix_ns} and {to_unix_ns} in nanoseconds. The SQL gives
// a table that Parse reads: it ends in FORMAT TSVWithNames or CSVWithNames.
type Query struct {
	URL            string // http://host:8123
	SQL            string
	User, Password string // of the database; "" sends none
	From, To       time.Time
	Client         *http.Client // nil is one with a limit of AnswerWithin
}

// AnswerWithin bounds one answer of the database.
const AnswerWithin = 2 * time.Minute

var placeholderRE = regexp.MustCompile(`\{[a-z_]+\}`)

// Check refuses a query that cannot be sent.
func (q *Query) Check() error {
	if err := CheckURL(q.URL); err != nil {
		return err
	}
	_, err := q.text()
	return err
}

// CheckURL refuses what is no address of a database.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is no address: want http://host:8123", redacted(address))
	}
	if u.User != nil {
		return errors.New("the address holds a user name or password: name environment variables for them instead")
	}
	return nil
}

func redacted(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "(not an URL)"
}

// text is the SQL with the window put in. SQL without the window would count
// samples of other times, so it is refused.
func (q *Query) text() (string, error) {
	ends := map[string]string{
		"{from_unix}": strconv.FormatInt(q.From.Unix(), 10), "{to_unix}": strconv.FormatInt(q.To.Add(time.Second-1).Unix(), 10),
		"{from_unix_ns}": strconv.FormatInt(q.From.UnixNano(), 10), "{to_unix_ns}": strconv.FormatInt(q.To.UnixNano(), 10),
	}
	var unknown []string
	from, to := false, false
	out := placeholderRE.ReplaceAllStringFunc(q.SQL, func(p string) string {
		v, ok := ends[p]
		if !ok {
			unknown = append(unknown, p)
		}
		from, to = from || strings.HasPrefix(p, "{from_"), to || strings.HasPrefix(p, "{to_")
		return v
	})
	switch {
	case len(unknown) > 0:
		return "", fmt.Errorf("the SQL has %s: known are {from_unix}, {to_unix}, {from_unix_ns} and {to_unix_ns}", strings.Join(unknown, ", "))
	case !from || !to:
		return "", errors.New("the SQL does not limit the time: use {from_unix} and {to_unix} (or {from_unix_ns}, {to_unix_ns}), else it counts samples of other times")
	case !strings.Contains(q.SQL, "WithNames"):
		return "", errors.New("the SQL does not name a format with a header: end it with FORMAT TSVWithNames")
	}
	return out, nil
}

// exceptionRE finds an error that ClickHouse writes into an answer that has
// begun with 200 OK.
var exceptionRE = regexp.MustCompile(`(?m)^Code: \d+[.,]`)

// Ask sends the query once.
func (q *Query) Ask(ctx context.Context) ([]byte, error) {
	sql, err := q.text()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, err
	}
	// Without this, an error may come after rows that look like an answer.
	u.RawQuery = url.Values{"wait_end_of_query": {"1"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(sql))
	if err != nil {
		return nil, err
	}
	if q.User != "" {
		req.Header.Set("X-ClickHouse-User", q.User)
		req.Header.Set("X-ClickHouse-Key", q.Password)
	}
	client := q.Client
	if client == nil {
		client = &http.Client{Timeout: AnswerWithin}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", u.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered HTTP %d: %s", u.Host, resp.StatusCode, head(body))
	}
	if at := exceptionRE.FindIndex(body); at != nil {
		return nil, fmt.Errorf("%s failed within its answer: %s", u.Host, head(body[at[0]:]))
	}
	return body, nil
}

func head(body []byte) string {
	s := strings.Join(strings.Fields(string(body[:min(len(body), 2000)])), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// Patience bounds the waiting for samples that are still under way.
type Patience struct {
	Limit time.Duration // from the first question to the last
	Poll  time.Duration // between two questions
}

// An Answer is what a query gave after some waiting.
type Answer struct {
	Text    []byte
	Reading Reading
	Asked   int  // times
	Settled bool // the last two answers had the same total
}

// Await asks until there are samples and two answers in a row have the same
// total, or until the patience is over. What it then has stands: Settled says
// whether it was still growing, and an empty Reading is the gap. An error of
// one question is tried again like an empty answer; it is returned if the last
// question ends in one and there were no samples before.
func Await(ctx context.Context, ask func(context.Context) ([]byte, error), c *profile.Classifier, p Patience) (Answer, error) {
	limit := time.NewTimer(p.Limit)
	defer limit.Stop()
	var a Answer
	var failed error
	for {
		text, err := ask(ctx)
		a.Asked++
		if err == nil {
			var r Reading
			if r, err = Parse(Table, text, c); err == nil {
				settled := !r.Empty() && r.Total() == a.Reading.Total()
				a.Text, a.Reading, a.Settled, failed = text, r, settled, nil
				if settled {
					return a, nil
				}
			}
		}
		if err != nil {
			failed = err
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-limit.C:
			if a.Reading.Empty() {
				return a, failed
			}
			return a, nil
		case <-time.After(p.Poll):
		}
	}
}
