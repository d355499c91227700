package hf

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A Problem is a sort of refusal.
type Problem int

const (
	Refused    Problem = iota // for a reason that only its text tells
	NoToken                   // the data set is gated, and no token was sent
	BadToken                  // the hub does not know the token
	NoAccess                  // the token is good, and its owner has no access
	NoDataset                 // there is none of that id, or it is private
	NoRevision                // it has no such branch, tag or commit
	NoFile                    // it has no such file, or none that can be read
	NoConfig                  // it has no such config
	NoSplit                   // it has no such split
	TooLarge                  // it is more than was allowed
)

// An Error is what the hub, or its data set, does not give. Its text is one
// sentence: what is wrong, and what to do.
type Error struct {
	Problem Problem
	text    string
}

func (e *Error) Error() string { return e.text }

func problem(p Problem, format string, a ...any) error {
	return &Error{p, fmt.Sprintf(format, a...)}
}

// A subject is what a request is about.
type subject struct{ id, revision, file string }

// refusal reads what an answer other than 200 means. The hub tells in
// X-Error-Code, except where nobody is logged in.
func (c *Client) refusal(resp *http.Response, about subject) error {
	code, said := resp.Header.Get("X-Error-Code"), resp.Header.Get("X-Error-Message")
	if said == "" {
		head, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // an empty text says as little
		said = strings.Join(strings.Fields(strings.ToValidUTF8(string(head), "")), " ")
	}
	if c.conf.Token != "" {
		said = strings.ReplaceAll(said, c.conf.Token, "[redacted]")
	}
	status, anonymous := resp.StatusCode, c.conf.Token == ""
	page := c.conf.Endpoint + "/datasets/" + about.id
	switch {
	case status == http.StatusUnauthorized && !anonymous && (code == "" || strings.Contains(said, "Invalid credentials")):
		return problem(BadToken, "the hub does not accept the token in %s (401): make a read token at %s/settings/tokens and export it as %s",
			c.conf.TokenName, c.conf.Endpoint, c.conf.TokenName)
	case code == "GatedRepo" && anonymous:
		return problem(NoToken, "data set %s is gated and %s is not set: accept its terms at %s and export a read token as %s",
			about.id, c.conf.TokenName, page, c.conf.TokenName)
	case code == "GatedRepo":
		return problem(NoAccess, "the token in %s has no access to the gated data set %s: ask for access at %s with the account of that token (a fine-grained token also needs the permission to read public gated repositories)",
			c.conf.TokenName, about.id, page)
	case code == "RevisionNotFound":
		return problem(NoRevision, "data set %s has no revision %s: give a branch, a tag or a commit that is listed at %s/commits/main", about.id, about.revision, page)
	case code == "EntryNotFound":
		return problem(NoFile, "data set %s has no file %s at revision %s: see %s/tree/main", about.id, about.file, about.revision, page)
	case (status == http.StatusUnauthorized || code == "RepoNotFound" || status == http.StatusNotFound) && anonymous:
		return problem(NoDataset, "there is no data set %s at %s, or it is private: check the id (owner/name), and if it is private export a token of its owner as %s",
			about.id, c.conf.Endpoint, c.conf.TokenName)
	case code == "RepoNotFound" || status == http.StatusNotFound:
		return problem(NoDataset, "there is no data set %s at %s that the token in %s may see: check the id (owner/name), and that the token is of an account with access to it",
			about.id, c.conf.Endpoint, c.conf.TokenName)
	}
	return problem(Refused, "the hub %s refuses data set %s (HTTP %d): %s", c.conf.Endpoint, about.id, status, said)
}
