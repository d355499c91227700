package hf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"pipeline/internal/digest"
)

// Main is the branch that is read if none is named.
const Main = "main"

// converted is where the hub keeps the Parquet that it makes of other formats.
const converted = "refs/convert/parquet"

// A Snapshot is a data set at one commit.
type Snapshot struct {
	ID        string
	Revision  string // as it was asked for
	Commit    string // that this was, 40 hexadecimal digits
	Converted string // commit of the hub's conversion, if the files are of that; else ""
	License   string // as its card states it; "" if it does not

	client *Client
	files  []File  // Parquet only
	splits []split // of them
}

// A File is a file of a snapshot.
type File struct {
	Path   string
	Size   int64
	SHA256 digest.Digest // zero for a small file that the hub keeps in git
	Blob   string        // its git object otherwise
}

var (
	idRE     = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$`)
	commitRE = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// IsCommit reports whether a revision is a commit, which never changes.
func IsCommit(revision string) bool { return commitRE.MatchString(revision) }

// CheckID refuses what can be no id of a data set.
func CheckID(id string) error {
	if !idRE.MatchString(id) || len(id) > 200 {
		return fmt.Errorf("%q is no id of a data set: want owner/name", id)
	}
	return nil
}

// An info is what /api/datasets/{id}/revision/{revision} tells.
type info struct {
	SHA  string `json:"sha"`
	Card struct {
		License json.RawMessage `json:"license"`
		Configs []cardConfig    `json:"configs"`
	} `json:"cardData"`
}

// Open finds a data set at a revision, "" is Main, and lists its Parquet
// files: its own, or those that the hub has made of it.
func (c *Client) Open(ctx context.Context, id, revision string) (*Snapshot, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	revision = cmp.Or(revision, Main)
	if err := c.mayRead(ctx, id); err != nil {
		return nil, err
	}
	about, err := c.info(ctx, id, revision)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{ID: id, Revision: revision, Commit: about.SHA, License: license(about.Card.License), client: c}
	files, err := c.tree(ctx, id, s.Commit)
	if err != nil {
		return nil, err
	}
	s.files = onlyParquet(files)
	if s.splits = splitsOf(s.files, about.Card.Configs); len(s.splits) == 0 {
		err = s.openConverted(ctx)
	}
	return s, err
}

// mayRead asks whether the token gives access. A mirror without that route
// tells with the first file.
func (c *Client) mayRead(ctx context.Context, id string) error {
	resp, err := c.get(ctx, c.conf.Endpoint+"/api/datasets/"+id+"/auth-check", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound && resp.Header.Get("X-Error-Code") == "" {
		return nil
	}
	return c.refusal(resp, subject{id: id})
}

func (c *Client) info(ctx context.Context, id, revision string) (info, error) {
	var about info
	_, err := c.json(ctx, c.conf.Endpoint+"/api/datasets/"+id+"/revision/"+url.PathEscape(revision), subject{id: id, revision: revision}, &about)
	if err == nil && !IsCommit(about.SHA) {
		err = fmt.Errorf("the hub %s names no commit for revision %s of data set %s", c.conf.Endpoint, revision, id)
	}
	return about, err
}

// openConverted takes the hub's own conversion, which it makes of the newest
// state only.
func (s *Snapshot) openConverted(ctx context.Context) error {
	none := func(why string) error {
		return problem(NoFile, "data set %s has no Parquet file at revision %s, and %s: see %s/datasets/%s/tree/%s",
			s.ID, s.Revision, why, s.client.conf.Endpoint, s.ID, s.Commit)
	}
	if s.Revision != Main {
		head, err := s.client.info(ctx, s.ID, Main)
		if err != nil {
			return err
		}
		if head.SHA != s.Commit {
			return none("the hub converts the newest state only (revision " + Main + ")")
		}
	}
	about, err := s.client.info(ctx, s.ID, converted)
	var refused *Error
	switch {
	case errors.As(err, &refused) && refused.Problem == NoRevision:
		return none("the hub has made none of it")
	case err != nil:
		return err
	}
	files, err := s.client.tree(ctx, s.ID, about.SHA)
	if err != nil {
		return err
	}
	s.Converted, s.files = about.SHA, onlyParquet(files)
	if s.splits = splitsOf(s.files, nil); len(s.splits) == 0 {
		return none("the hub's conversion is empty")
	}
	return nil
}

// maxFiles bounds a listing.
const maxFiles = 200_000

// tree lists all files at a commit.
func (c *Client) tree(ctx context.Context, id, commit string) ([]File, error) {
	address := c.conf.Endpoint + "/api/datasets/" + id + "/tree/" + commit + "?recursive=true&expand=false"
	var files []File
	for address != "" {
		var page []struct {
			Type, OID, Path string
			Size            int64
			LFS             *struct {
				OID  string
				Size int64
			}
		}
		header, err := c.json(ctx, address, subject{id: id, revision: commit}, &page)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Type != "file" {
				continue
			}
			f := File{Path: e.Path, Size: e.Size, Blob: e.OID}
			if e.LFS != nil {
				if f.SHA256, err = digest.Parse(e.LFS.OID); err != nil {
					return nil, fmt.Errorf("the hub %s lists %s of data set %s with a broken digest: %w", c.conf.Endpoint, e.Path, id, err)
				}
				f.Size, f.Blob = e.LFS.Size, ""
			}
			files = append(files, f)
		}
		if len(files) > maxFiles {
			return nil, problem(TooLarge, "data set %s has more than %d files: name a revision with fewer", id, maxFiles)
		}
		if address, err = c.next(header); err != nil {
			return nil, err
		}
	}
	return files, nil
}

var linkNextRE = regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?next"?`)

// next is the address of the next page of a listing, "" behind the last.
func (c *Client) next(h http.Header) (string, error) {
	m := linkNextRE.FindStringSubmatch(h.Get("Link"))
	if m == nil {
		return "", nil
	}
	u, err := c.base.Parse(m[1])
	if err != nil || !c.own(u) {
		return "", fmt.Errorf("the hub %s continues a listing at another host", c.conf.Endpoint)
	}
	return u.String(), nil
}

func onlyParquet(files []File) []File {
	files = slices.DeleteFunc(slices.Clone(files), func(f File) bool { return path.Ext(f.Path) != ".parquet" })
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// license reads a text, or a list of them.
func license(raw json.RawMessage) string {
	var one string
	var many []string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	if json.Unmarshal(raw, &many) == nil {
		return strings.Join(many, ", ")
	}
	return ""
}
