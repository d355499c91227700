package engine

import "strings"

// A Reason says why a node is not a hit: a code of a closed list. R01 to R15
// have the meaning of the design's list of reasons; those that nothing here
// can give are left out. R17 and on are the engine's own.
type Reason string

// All reasons.
const (
	None               Reason = ""    // it is a hit, or not selected
	IdentityChanged    Reason = "R01" // what was observed of the world is not what it was
	IdentityUnresolved Reason = "R02" // it rests on an observation with gaps: measured, but never reused
	EndpointChanged    Reason = "R03" // the endpoint changed while it was measured
	Aged               Reason = "R06" // its record is older than max_age
	Invalid            Reason = "R08" // what it measured last was only a part of an answer
	ProtocolChanged    Reason = "R09" // the kind's version was raised
	DatasetChanged     Reason = "R10" // the content of a file it reads changed
	Killed             Reason = "R12" // its last try was interrupted
	Forced             Reason = "R15" // a person asked for it
	New                Reason = "R17" // nothing like it was ever run
	ParamsChanged      Reason = "R18" // a parameter has another value
	InputsChanged      Reason = "R19" // what it reads has other bytes
	FailedBefore       Reason = "R20" // its last try failed
	BlobMissing        Reason = "R21" // the store lost what it wrote
	NotLanded          Reason = "R22" // what it published is no longer there
	LooksAgain         Reason = "R23" // an observation is repeated before something below is measured
	Upstream           Reason = "R24" // what it reads is not known yet
	Needed             Reason = "R25" // a Hold: something below it has to run
)

// reasons is the one list of what the codes mean.
var reasons = [...]struct {
	Code Reason
	Name string // for machines
	Text string // for people
}{
	{IdentityChanged, "identity_changed", "what it measures has changed"},
	{IdentityUnresolved, "identity_unresolved", "what it measures could not be identified, so it is never reused"},
	{EndpointChanged, "endpoint_changed", "the endpoint changed during the last measurement"},
	{Aged, "aged", "its record is older than max_age"},
	{Invalid, "invalid", "the last measurement was not valid"},
	{ProtocolChanged, "protocol_changed", "the way of doing it has changed"},
	{DatasetChanged, "dataset_changed", "a file it reads has changed"},
	{Killed, "interrupted", "the last try was interrupted"},
	{Forced, "forced", "forced"},
	{New, "new", "never run before"},
	{ParamsChanged, "params_changed", "a parameter has changed"},
	{InputsChanged, "inputs_changed", "an input has changed"},
	{FailedBefore, "failed_before", "the last try failed"},
	{BlobMissing, "blob_missing", "what it wrote is missing from the store"},
	{NotLanded, "not_landed", "what it published is no longer there"},
	{LooksAgain, "looks_again", "looks again before something is measured"},
	{Upstream, "upstream", "depends on what runs before it"},
	{Needed, "needed", "something below it has to run"},
}

// Name returns the reason's name for machines: identity_changed.
func (r Reason) Name() string {
	for _, x := range reasons {
		if x.Code == r {
			return x.Name
		}
	}
	return ""
}

// Text returns the reason in plain words.
func (r Reason) Text() string {
	for _, x := range reasons {
		if x.Code == r {
			return x.Text
		}
	}
	return ""
}

// Reasons returns all reasons, in order.
func Reasons() []Reason {
	out := make([]Reason, len(reasons))
	for i, x := range reasons {
		out[i] = x.Code
	}
	return out
}

// reasonOfFailure reads the reason from the text of a record that is no
// answer. Kinds and engine begin such a text with the name of the reason.
func reasonOfFailure(text string, partial bool) Reason {
	switch {
	case strings.HasPrefix(text, EndpointChanged.Name()):
		return EndpointChanged
	case strings.HasPrefix(text, IdentityUnresolved.Name()):
		return IdentityUnresolved
	case strings.HasPrefix(text, Killed.Name()):
		return Killed
	case partial:
		return Invalid
	}
	return FailedBefore
}
