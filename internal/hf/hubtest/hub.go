// Package hubtest is a stand-in for the Hugging Face Hub, for tests: the same
// paths, status codes and headers, on loopback. Files are served by a second
// listener, as the hub's are by other hosts; a token that reaches it fails the
// test.
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A Repo is a data set of the hub.
type Repo struct {
	ID        string
	Gated     bool              // readable by tokens that were granted it
	Private   bool              // seen by tokens that were granted it
	Card      map[string]any    // its card: configs, license
	Revisions map[string]string // commit of each branch and tag
	Commits   map[string]Files  // content of each commit
}

// Files are contents by path.
type Files map[string][]byte

// Commit is a commit's name made of one letter, for tests.
func Commit(letter string) string { return strings.Repeat(letter, 40) }

// A Hub is a running stand-in.
type Hub struct {
	URL string // of the hub
	CDN string // of the host that has the files

	t      testing.TB
	tokens map[string][]string // ids that a token was granted

	mu       sync.Mutex
	repos    map[string]*Repo
	requests []string
	faults   []*Fault
}

// A Fault makes answers fail.
type Fault struct {
	Path    string // part of the path of the requests that fail
	Times   int    // how many of them do
	Status  int    // what they answer; 0 cuts the body short
	Bytes   int    // of the body that come before the cut
	Corrupt bool   // with Status 0: the body is whole, and its first byte is wrong
	Header  http.Header
}

// Start starts a hub that ends with the test. tokens holds for each valid
// token the ids of the gated and private data sets that it was granted.
func Start(t testing.TB, tokens map[string][]string, repos ...*Repo) *Hub {
	h := &Hub{t: t, tokens: tokens, repos: map[string]*Repo{}}
	for _, r := range repos {
		h.repos[r.ID] = r
	}
	hub, cdn := httptest.NewServer(http.HandlerFunc(h.hub)), httptest.NewServer(http.HandlerFunc(h.cdn))
	t.Cleanup(func() { hub.Close(); cdn.Close() })
	h.URL, h.CDN = hub.URL, cdn.URL
	return h
}

// Fail adds a fault.
func (h *Hub) Fail(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, &f)
}

// Edit changes what the hub has.
func (h *Hub) Edit(f func(repos map[string]*Repo)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.repos)
}

// Requests returns the requests since the last call: method, path and range.
func (h *Hub) Requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.requests
	h.requests = nil
	return out
}

func (h *Hub) note(r *http.Request) {
	line := r.Method + " " + r.URL.EscapedPath()
	if rng := r.Header.Get("Range"); rng != "" {
		line += " " + rng
	}
	h.requests = append(h.requests, line)
}

// fault returns the fault that this request meets, nil for none.
func (h *Hub) fault(r *http.Request) *Fault {
	for _, f := range h.faults {
		if f.Times > 0 && strings.Contains(r.URL.EscapedPath(), f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"error\":%q}", message)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// hub answers as huggingface.co does.
func (h *Hub) hub(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(r)
	if f := h.fault(r); f != nil && f.Status > 0 {
		for name, v := range f.Header {
			w.Header()[name] = v
		}
		refuse(w, f.Status, "", "fault of the test")
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	granted, valid := h.tokens[token]
	if token != "" && !valid {
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	}
	repo, rest, download := h.find(r.URL.EscapedPath())
	if repo == nil || repo.Private && !slices.Contains(granted, repo.ID) {
		status := http.StatusNotFound
		if token == "" {
			status = http.StatusUnauthorized // it tells nobody that is not logged in
		}
		refuse(w, status, "RepoNotFound", "Repository not found")
		return
	}
	allowed := !repo.Gated || slices.Contains(granted, repo.ID)
	if !allowed && (download || rest[0] == "auth-check") {
		if token == "" {
			refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to dataset "+repo.ID+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
		} else {
			refuse(w, http.StatusForbidden, "GatedRepo", "Access to dataset "+repo.ID+" is restricted and you are not in the authorized list.")
		}
		return
	}
	if rest[0] == "auth-check" {
		return
	}
	if len(rest) < 2 {
		refuse(w, http.StatusNotFound, "", "Not Found")
		return
	}
	revision, _ := url.PathUnescape(rest[1]) // one that cannot be read is none
	commit := revision
	if c, ok := repo.Revisions[revision]; ok {
		commit = c
	}
	files, ok := repo.Commits[commit]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
	case download:
		h.resolve(w, commit, files, rest[2:])
	case rest[0] == "revision":
		answer(w, map[string]any{"id": repo.ID, "sha": commit, "gated": repo.Gated, "private": repo.Private, "cardData": repo.Card})
	case rest[0] == "tree":
		h.tree(w, r, files)
	default:
		refuse(w, http.StatusNotFound, "", "Not Found")
	}
}

// find takes a path apart: /api/datasets/{id}/{rest} or
// /datasets/{id}/resolve/{revision}/{path}.
func (h *Hub) find(path string) (repo *Repo, rest []string, download bool) {
	tail, api := strings.CutPrefix(path, "/api/datasets/")
	if !api {
		tail = strings.TrimPrefix(path, "/datasets/")
	}
	parts := strings.Split(tail, "/")
	for n := 1; n < min(3, len(parts)); n++ {
		repo = h.repos[strings.Join(parts[:n], "/")]
		if repo != nil && api {
			return repo, parts[n:], false
		}
		if repo != nil && parts[n] == "resolve" {
			return repo, parts[n:], true
		}
	}
	return nil, nil, false
}

const pageSize = 3 // of a listing, so that a test meets more than one

func (h *Hub) tree(w http.ResponseWriter, r *http.Request, files Files) {
	var paths []string
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	first, _ := strconv.Atoi(r.URL.Query().Get("cursor")) // none is 0
	last := min(first+pageSize, len(paths))
	if last < len(paths) {
		w.Header().Set("Link", fmt.Sprintf("<%s%s?recursive=true&expand=false&cursor=%d>; rel=\"next\"", h.URL, r.URL.EscapedPath(), last))
	}
	page := []map[string]any{{"type": "directory", "oid": Commit("d"), "size": 0, "path": "data"}}
	for _, p := range paths[first:last] {
		page = append(page, entry(p, files[p]))
	}
	answer(w, page)
}

// large reports whether the hub keeps a file as LFS, outside of git.
func large(path string, content []byte) bool { return len(content) >= 256 }

func entry(path string, content []byte) map[string]any {
	if large(path, content) {
		return map[string]any{"type": "file", "oid": Commit("e"), "size": len(content), "path": path,
			"lfs": map[string]any{"oid": sum256(content), "size": len(content), "pointerSize": 134}}
	}
	return map[string]any{"type": "file", "oid": blob(content), "size": len(content), "path": path}
}

func sum256(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func blob(b []byte) string {
	s := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(s[:])
}

// resolve sends to the file, or sends it if it is small.
func (h *Hub) resolve(w http.ResponseWriter, commit string, files Files, parts []string) {
	escaped := strings.Join(parts, "/")
	path, _ := url.PathUnescape(escaped) // one that cannot be read is none
	content, ok := files[path]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if !large(path, content) {
		w.Header().Set("ETag", strconv.Quote(blob(content)))
		_, _ = w.Write(content) // a client that has gone needs no answer
		return
	}
	w.Header().Set("X-Linked-Etag", strconv.Quote(sum256(content)))
	w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
	w.Header().Set("Location", h.CDN+"/"+sum256(content)+"?Signature=s&Key-Pair-Id=k")
	w.WriteHeader(http.StatusFound)
}

// cdn serves contents by their digest.
func (h *Hub) cdn(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(r)
	if r.Header.Get("Authorization") != "" {
		h.t.Errorf("the token went to another host than the hub: %s", r.URL.Path)
	}
	if r.URL.Query().Get("Signature") == "" {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	content := h.content(strings.TrimPrefix(r.URL.Path, "/"))
	if content == nil {
		http.NotFound(w, r)
		return
	}
	f := h.fault(r)
	switch {
	case f == nil:
		http.ServeContent(w, r, "", noTime, bytes.NewReader(content))
	case f.Status > 0:
		http.Error(w, "fault of the test", f.Status)
	case f.Corrupt:
		content = slices.Clone(content)
		content[0] ^= 1
		http.ServeContent(w, r, "", noTime, bytes.NewReader(content))
	default:
		http.ServeContent(&cut{w, f.Bytes}, r, "", noTime, bytes.NewReader(content))
	}
}

func (h *Hub) content(sum string) []byte {
	for _, r := range h.repos {
		for _, files := range r.Commits {
			for _, content := range files {
				if sum256(content) == sum {
					return content
				}
			}
		}
	}
	return nil
}
