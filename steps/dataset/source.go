package dataset

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"pipeline/internal/agentic"
	"pipeline/internal/conversation"
	"pipeline/internal/digest"
	"pipeline/internal/transcript"
	"pipeline/steps"
)

// A source is a data set that has been found. What all yields is read, and
// fetched, as it is asked for; the rest is known once it has been read.
type source struct {
	about   conversation.Dataset
	all     iter.Seq2[conversation.Conversation, error]
	tokens  func() string
	dropped func() []conversation.Drop
	files   func() []conversation.SourceFile
}

// madeDefault is how many conversations are made if nobody says.
const madeDefault = 64

// made is the data set that this program makes.
func (s *Step) made() source {
	seed := 0
	if s.Seed != nil {
		seed = *s.Seed
	}
	limit := transcript.Reader{MaxTurns: s.MaxTurns, MaxISL: s.MaxISL}
	return source{
		about: conversation.Dataset{Name: synthetic, Revision: agentic.Revision},
		all: func(yield func(conversation.Conversation, error) bool) {
			for i := range cmp.Or(s.MaxConversations, madeDefault) {
				c := agentic.Make(int64(seed), i)
				if err := limit.Cut(&c); err != nil {
					limit.LeaveOut(err)
				} else if !yield(c, nil) {
					return
				}
			}
		},
		tokens:  func() string { return transcript.Estimated },
		dropped: limit.Drops,
		files:   func() []conversation.SourceFile { return nil },
	}
}

func (s *Step) reader() *transcript.Reader {
	return &transcript.Reader{Columns: transcript.Columns(s.Columns), MaxTurns: s.MaxTurns, MaxISL: s.MaxISL}
}

func (s *Step) fromFile(env *steps.Env) (source, error) {
	path, name := env.Resolve(string(s.File)), filepath.Base(string(s.File))
	r := s.reader()
	about, err := fileAt(path, name)
	if err != nil {
		return source{}, fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	return source{
		about:   conversation.Dataset{Name: name},
		all:     permanent(r.File(path, name)),
		tokens:  r.Tokens,
		dropped: r.Drops,
		files:   func() []conversation.SourceFile { return []conversation.SourceFile{about} },
	}, nil
}

// permanent marks the error of a file: it reads the same another time.
func permanent(all iter.Seq2[conversation.Conversation, error]) iter.Seq2[conversation.Conversation, error] {
	return func(yield func(conversation.Conversation, error) bool) {
		for c, err := range all {
			if err != nil {
				err = fmt.Errorf("%w: %w", err, steps.ErrPermanent)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func (s *Step) fromHub(ctx context.Context, env *steps.Env) (source, error) {
	client, err := s.client(env)
	if err != nil {
		return source{}, err
	}
	env.Progress(steps.Progress{Text: "asking " + client.Endpoint()})
	snapshot, err := client.Open(ctx, s.id(), s.Revision)
	if err != nil {
		return source{}, err
	}
	sel, err := snapshot.Pick(s.Config, s.Split)
	if err != nil {
		return source{}, err
	}
	if sel.Partial {
		env.Doubt("partial_split: the hub has converted only a part of split %s of data set %s to Parquet", sel.Split, s.id())
	}
	name := fmt.Sprintf("%s@%s", s.id(), snapshot.Commit[:12])
	env.Log.Info("data set", "id", s.id(), "hub", client.Endpoint(), "revision", snapshot.Revision, "commit", snapshot.Commit,
		"converted", snapshot.Converted, "config", sel.Config, "split", sel.Split, "files", len(sel.Files))
	r, read := s.reader(), []conversation.SourceFile(nil)
	return source{
		about: conversation.Dataset{Name: s.id(), Revision: snapshot.Commit, Converted: snapshot.Converted, Config: sel.Config, Split: sel.Split, License: snapshot.License},
		all: func(yield func(conversation.Conversation, error) bool) {
			defer client.Close()
			budget := int64(s.MaxDownloadMB) << 20
			for i, f := range sel.Files {
				if budget -= f.Size; budget < 0 {
					yield(conversation.Conversation{}, fmt.Errorf("split %s of data set %s is more than max_download_mb, %d MB: raise it, or give max_conversations without seed: %w",
						sel.Split, s.id(), s.MaxDownloadMB, steps.ErrPermanent))
					return
				}
				text := fmt.Sprintf("%s: file %d of %d", name, i+1, len(sel.Files))
				path, err := snapshot.Fetch(ctx, f, filepath.Join(env.Campaign.Home, "downloads"), func(done int64) {
					env.Progress(steps.Progress{Done: int(done >> 20), Total: int(f.Size >> 20), Unit: "MB", Text: text})
				})
				if err != nil {
					yield(conversation.Conversation{}, err)
					return
				}
				sum, err := fileAt(path, f.Path)
				if err != nil {
					yield(conversation.Conversation{}, err)
					return
				}
				read = append(read, sum)
				for c, err := range permanent(r.File(path, f.Path)) {
					if !yield(c, err) || err != nil {
						return
					}
				}
			}
		},
		tokens:  r.Tokens,
		dropped: r.Drops,
		files:   func() []conversation.SourceFile { return read },
	}, nil
}

// fileAt says what lies at a path.
func fileAt(path, name string) (conversation.SourceFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return conversation.SourceFile{}, err
	}
	defer f.Close()
	sum, size, err := digest.OfReader(f)
	return conversation.SourceFile{Name: name, Size: size, Digest: sum}, err
}
