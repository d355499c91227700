// Package dataset is the kind dataset: it brings recorded conversations to the
// cells that play them.
//
// Like a data source that other tools read before they plan, it observes. A
// branch of the hub may move, so it is looked at again before something is
// measured; a commit, a file (whose content is in the key) and what this
// program makes itself never change, and are looked at once. Either way the
// cells below depend on the bytes of conversations.jsonl and on nothing else:
// a new commit that leaves them as they were measures nothing again.
package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"pipeline/internal/conversation"
	"pipeline/internal/hf"
	"pipeline/internal/transcript"
	"pipeline/steps"
)

// Kind is the kind dataset.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "dataset",
		Summary: "recorded conversations for cells: from the Hugging Face Hub, from files, or made here",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Observe,
		Outputs: []steps.Output{
			{Name: conversation.FileName, Doc: "The conversations, a line each: {id, system, turns: [{user, assistant, isl, osl}]}."},
			{Name: conversation.DatasetFile, Doc: "Name, revision, split, digest, and how turns, ISL and OSL are distributed (dataset/v1).", Volatile: true},
		},
		New: func() steps.Step {
			return &Step{Source: synthetic, Hub: hf.DefaultEndpoint, TokenEnv: "HF_TOKEN", MaxDownloadMB: 20_000}
		},
	}
}

const doc = `The default is made by this program and needs no network: conversations of a
coding agent, of which no two are alike.

    - {id: data, uses: dataset, with: {max_conversations: 200}}
    - id: cells
      uses: cell_run
      in: {server: server, setup: setup, dataset: data}

From the hub, Parquet files are read: the data set's own, else those that the hub
has made of it. Access is checked first; a gated data set needs a read token in
HF_TOKEN of an account that has accepted its terms. A branch becomes a commit,
which is in dataset.json; pin it with revision, and nobody asks the hub again.
What was fetched lies in the folder downloads of the home and may be deleted.

    - id: data
      uses: dataset
      with: {source: replay-playback, id: owner/replay-playback, split: "2025_07", max_conversations: 500, seed: 1}

A file is JSON Lines, a JSON array or Parquet, in the shape of the chat API, of
ShareGPT, of AIPerf multi_turn, or of conversations.jsonl. Other columns are
named with columns.

With seed the conversations are drawn and shuffled, else they come in the order
of the source. What is left out or changed is counted in dataset.json, and rows
that are left out are a doubt; pipeline runs logs last data lists all. Tokens are counted by the source, or estimated
from characters; what the server counts is in each measurement.
`

// The sources.
const (
	synthetic = "synthetic-agentic"
	playback  = "replay-playback"
	hub       = "huggingface"
	file      = "file"
)

// Step brings one data set.
type Step struct {
	Source           string        `json:"source" key:"yes" enum:"synthetic-agentic,replay-playback,huggingface,file" doc:"Where the conversations are from."`
	ID               string        `json:"id" key:"yes" doc:"Of a data set on the hub: owner/name. For replay-playback, the default is replay-playback."`
	Revision         string        `json:"revision" key:"yes" doc:"Branch, tag or commit on the hub; not set is main. A commit never changes."`
	Config           string        `json:"config" key:"yes" doc:"Config of a data set on the hub that has more than one."`
	Split            string        `json:"split" key:"yes" doc:"Split of a data set on the hub; not set is the only one, or train."`
	File             steps.File    `json:"file" key:"yes" doc:"JSON Lines, JSON or Parquet file, for source file."`
	Columns          Columns       `json:"columns" key:"yes" doc:"Names of columns that are not found by their name."`
	Seed             *int          `json:"seed" key:"yes" doc:"Draws and shuffles the conversations; not set is the order of the source. For synthetic-agentic, which conversations are made."`
	MaxConversations int           `json:"max_conversations" key:"yes" min:"0" max:"10000000" doc:"The most that are taken; 0 is all, and for synthetic-agentic 64."`
	MaxTurns         int           `json:"max_turns" key:"yes" min:"0" doc:"Turns of a conversation; what is longer is cut. 0 is no limit."`
	MaxISL           int           `json:"max_isl" key:"yes" min:"0" doc:"Input tokens of a request; a conversation is cut where it has more. 0 is no limit."`
	Hub              string        `json:"hub" key:"no" doc:"Address of the hub, or of a mirror."`
	TokenEnv         steps.EnvName `json:"token_env" key:"no" doc:"Environment variable that holds a read token of the hub. It may be unset where the data set is public."`
	MaxDownloadMB    int           `json:"max_download_mb" key:"no" min:"1" doc:"The most that is fetched from the hub."`

	pause time.Duration // before a second try; 0 is that of package hf
}

// Columns are names of columns.
type Columns struct {
	ID           string `json:"id" key:"yes" doc:"Of the conversation."`
	Conversation string `json:"conversation" key:"yes" doc:"A list of messages, or its JSON."`
	System       string `json:"system" key:"yes" doc:"A system message."`
	User         string `json:"user" key:"yes" doc:"A single request."`
	Assistant    string `json:"assistant" key:"yes" doc:"The answer that was recorded to it."`
}

// Check refuses parameters that do not go together.
func (s *Step) Check() error {
	refuse := func(param, format string, a ...any) error {
		return &steps.ParamError{Param: param, Err: fmt.Errorf(format, a...)}
	}
	onHub := s.Source == hub || s.Source == playback
	switch {
	case s.Source == hub && s.ID == "":
		return refuse("id", "source huggingface needs the id of a data set: owner/name")
	case s.Source == file && s.File == "":
		return refuse("file", "source file needs a file")
	case s.Source != file && s.File != "":
		return refuse("file", "is read with source file only, and source is %s", s.Source)
	case s.Source == synthetic && s.Columns != Columns{}:
		return refuse("columns", "are of a file, and source is %s", s.Source)
	case s.Columns.Conversation != "" && s.Columns.User+s.Columns.Assistant != "":
		return refuse("columns", "give either conversation, or user and assistant")
	}
	for param, value := range map[string]string{"id": s.ID, "revision": s.Revision, "config": s.Config, "split": s.Split} {
		if value != "" && !onHub {
			return refuse(param, "is of a data set on the hub, and source is %s", s.Source)
		}
	}
	if s.ID != "" {
		if err := hf.CheckID(s.ID); err != nil {
			return refuse("id", "%w", err)
		}
	}
	return nil
}

// Fixed implements steps.Fixed: only a branch of the hub moves.
func (s *Step) Fixed() bool {
	return s.Source == synthetic || s.Source == file || hf.IsCommit(s.Revision)
}

// Run brings the conversations.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	var from source
	var err error
	switch s.Source {
	case synthetic:
		from = s.made()
	case file:
		from, err = s.fromFile(env)
	default:
		from, err = s.fromHub(ctx, env)
	}
	if err != nil {
		return explain(err)
	}
	d, err := s.write(ctx, env, from)
	if err != nil {
		return explain(err)
	}
	env.Log.Info("data set", "name", d.Name, "revision", d.Revision, "split", d.Split, "digest", d.Digest, "tokens", d.Tokens,
		"conversations", d.Summary.Conversations, "turns", d.Summary.Turns, "isl", d.Summary.ISL, "osl", d.Summary.OSL)
	left := 0
	for _, drop := range d.Dropped {
		env.Log.Info("left out or changed", "count", drop.Count, "why", drop.Why)
		if strings.HasPrefix(drop.Why, transcript.RowLeftOut) {
			left += drop.Count
		}
	}
	if left > 0 {
		env.Doubt("rows_left_out: %d rows of data set %s hold no conversation that can be played; dataset.json says why", left, d.Name)
	}
	env.Progress(steps.Progress{Done: d.Summary.Conversations, Total: d.Summary.Conversations, Unit: "conversations", Text: headline(d)})
	return nil
}

// explain says what an error means for the engine.
func explain(err error) error {
	var refused *hf.Error
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	case hf.Unreachable(err):
		return fmt.Errorf("%w: %w", err, steps.ErrUnreachable)
	}
	return err
}

func headline(d conversation.Dataset) string {
	text := fmt.Sprintf("%d requests", d.Summary.Requests)
	if isl := d.Summary.ISL; isl != nil {
		text += fmt.Sprintf(", ISL %d (p90 %d)", isl.P50, isl.P90)
	}
	if osl := d.Summary.OSL; osl != nil {
		text += fmt.Sprintf(", OSL %d (p90 %d)", osl.P50, osl.P90)
	}
	return text
}

// write takes what is asked for from the source.
func (s *Step) write(ctx context.Context, env *steps.Env, from source) (conversation.Dataset, error) {
	d := from.about
	out, err := env.Create(conversation.FileName)
	if err != nil {
		return d, err
	}
	w := conversation.NewWriter(out)
	take := takeFirst
	if s.Seed != nil && s.Source != synthetic {
		take = takeDrawn(int64(*s.Seed), filepath.Join(env.Dir, "all.jsonl"))
	}
	if err := take(ctx, from.all, s.MaxConversations, w); err != nil {
		return d, err
	}
	if err := w.Flush(); err != nil {
		return d, err
	}
	if err := out.Close(); err != nil {
		return d, err
	}
	d.Schema, d.Source, d.Digest, d.Summary = conversation.DatasetSchema, s.Source, w.Digest(), w.Summary()
	d.Tokens, d.Dropped, d.Files = from.tokens(), from.dropped(), from.files()
	if s.Seed != nil {
		seed := int64(*s.Seed)
		d.Seed = &seed
	}
	if d.Summary.Conversations == 0 {
		why := "it is empty"
		if len(d.Dropped) > 0 {
			why = d.Dropped[0].Why
		}
		return d, fmt.Errorf("data set %s has no conversation that can be played: %s: %w", d.Name, why, steps.ErrPermanent)
	}
	return d, env.Write(conversation.DatasetFile, d.Write)
}

// token is the read token of the hub, "" where none is set: a public data set
// needs none.
func (s *Step) token(env *steps.Env) string {
	if s.TokenEnv == "" {
		return ""
	}
	token, err := env.Secret(string(s.TokenEnv))
	if err != nil {
		return ""
	}
	return token
}

func (s *Step) client(env *steps.Env) (*hf.Client, error) {
	c, err := hf.New(hf.Config{Endpoint: s.Hub, Token: s.token(env), TokenName: string(s.TokenEnv), Pause: s.pause})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	return c, nil
}

// id is the data set on the hub.
func (s *Step) id() string { return cmp.Or(s.ID, playback) }
