package perf

import "math"

// Assess turns the requests of a run into a Measurement: summaries, window,
// status, reasons and doubts. All drivers use it, so that their cells mean the
// same. The caller adds the setting, the driver, start and end, the server's
// counters, and doubts of its own. client is nil if the driver does not tell.
func Assess(requests []Request, asked Workload, client *Client) Measurement {
	m, _ := AssessStream(Slice(requests), asked, client) // a slice has no errors
	return m
}

// AssessStream is Assess for requests that need not be in memory. It goes
// through them twice: first without the times of chunks, to judge them and to
// find the steady window, then with them, for the summaries. Of each request
// it keeps a few numbers.
func AssessStream(requests Stream, asked Workload, client *Client) (Measurement, error) {
	first := newLook()
	for r, err := range requests(false) {
		if err != nil {
			return Measurement{}, err
		}
		first.add(r)
	}
	judged := first.judge(asked, client)
	m := Measurement{
		Schema: MeasurementSchema, Status: judged.Status, Reasons: judged.Reasons, Doubts: judged.Doubts,
		Failure: judged.Failure, Asked: asked, Client: client,
		TokenSource: first.counts.tokenSource(),
	}
	if m.Status != Failed {
		window, doubts := steadyWindow(first.flights, asked)
		m.Window = window
		m.Doubts = append(m.Doubts, doubts...)
	}
	whole, answered := first.whole(), first.answered
	first = nil // what it kept is needed no more
	err := m.summarize(requests, whole, answered)
	return m, err
}

// summarize is the second pass: it fills the summaries of the whole run and of
// m.Window, and adds the doubts that they raise.
func (m *Measurement) summarize(requests Stream, span Window, answered int) error {
	whole := (&tally{window: span, workload: m.Asked}).expect(answered)
	var steady *tally
	var pace *pace
	if m.Window != nil {
		steady = (&tally{window: *m.Window, workload: m.Asked}).expect(int(m.Window.Share*float64(answered)) + 1)
		pace = newPace(*m.Window)
	}
	for r, err := range requests(true) {
		if err != nil {
			return err
		}
		whole.add(r)
		if steady != nil {
			steady.add(r)
			pace.add(r)
		}
	}
	m.Summary = whole.summary()
	if m.Status == Failed {
		return nil
	}
	head := &m.Summary
	if steady != nil {
		s := steady.summary()
		m.Steady, head = &s, &s
		m.Doubts = append(m.Doubts, edgesDoubt(m.Summary, s)...)
		if m.Steadiness = pace.steadiness(); m.Steadiness != nil {
			m.Doubts = append(m.Doubts, m.Steadiness.doubts()...)
		}
	}
	m.Doubts = append(m.Doubts, SampleDoubts(*head)...)
	return nil
}

// A look is a first pass over requests.
type look struct {
	counts
	from, to int64 // of all that were measured
	flights  []flight
}

func newLook() *look {
	return &look{counts: counts{causes: map[string]int{}, sources: map[string]bool{}}, from: math.MaxInt64, to: math.MinInt64}
}

func (l *look) add(r *Request) {
	l.counts.add(r)
	if r.Warmup {
		return
	}
	from := r.SentNS
	if from < 0 {
		from = r.IntendedNS
	}
	l.from, l.to = min(l.from, from), max(l.to, r.EndNS)
	if r.SentNS < 0 {
		return
	}
	f := flight{intended: r.IntendedNS, sent: r.SentNS, end: r.EndNS, latency: Never, answered: r.OK()}
	if r.LastNS >= 0 {
		f.latency = r.LastNS - r.SentNS
	}
	l.flights = append(l.flights, f)
}

func (l *look) whole() Window {
	if l.from > l.to {
		return Window{Method: "no request", Share: 0}
	}
	return Window{FromNS: l.from, ToNS: l.to, Method: "first request sent to last one ended", Share: 1}
}
