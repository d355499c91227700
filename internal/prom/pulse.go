package prom

// A Pulse is what one scrape tells of a server that works: what it is busy
// with, and a count that goes up while it does anything. It is not Known where
// the server has none of vLLM's metrics.
type Pulse struct {
	Running, Waiting float64 // requests
	Tokens           float64 // read and written so far
	Known            bool
}

// Pulse reads the pulse of a server.
func (s Snapshot) Pulse() Pulse {
	var p Pulse
	for _, m := range gauges() {
		v, ok := m.read(s)
		switch {
		case !ok || !finite(v.value):
		case m.field == "running":
			p.Running, p.Known = v.value, true
		case m.field == "waiting":
			p.Waiting = v.value
		}
	}
	tokens := false
	for _, m := range counters() {
		if v, ok := m.read(s); ok && finite(v.value) && (m.field == "prompt_tokens" || m.field == "generation_tokens") {
			p.Tokens += v.value
			tokens = true
		}
	}
	p.Known = p.Known && tokens
	return p
}
