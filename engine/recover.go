package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/steps"
)

// Recover cleans up after runs that died: what they held is released, and
// tries that never ended are recorded as interrupted. It says what it did. It
// is part of every Run; a lease that could not be released is an item of what
// it says, and is tried again the next time.
func (e *Engine) Recover(ctx context.Context) (said []string, err error) {
	names, err := os.ReadDir(e.Store.Path("locks"))
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	for _, de := range names {
		id, ok := strings.CutPrefix(de.Name(), "run-")
		if !ok {
			continue
		}
		lock, err := e.Store.TryLock(runLock(id))
		if errors.Is(err, store.ErrLocked) {
			continue // it lives
		}
		if err != nil {
			return said, fmt.Errorf("recover run %s: %w", id, err)
		}
		texts, clean := e.recoverRun(ctx, id)
		said = append(said, texts...)
		if clean {
			lock.Unlock()
		} else {
			lock.Leave()
		}
	}
	return said, nil
}

// recoverRun cleans up after one dead run. It is clean if nothing is left to do.
func (e *Engine) recoverRun(ctx context.Context, id string) (said []string, clean bool) {
	dir := e.Store.Path("runs", id)
	entries, _, err := journal.Read(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, true // it died before its first line, and so before it touched anything
	}
	if err != nil {
		return []string{fmt.Sprintf("run %s died and cannot be cleaned up: %v", id, err)}, false
	}
	j, err := journal.Continue(dir)
	if err != nil {
		return []string{fmt.Sprintf("run %s died and cannot be cleaned up: %v", id, err)}, false
	}
	clean = true
	for _, l := range journal.OpenLeases(entries) {
		if err := e.releaseLease(ctx, l); err != nil {
			clean = false
			said = append(said, fmt.Sprintf("run %s died and left %s (lease %s), which could not be released: %v", id, l.Node, l.Lease, err))
			continue
		}
		j.Add(journal.Entry{Time: e.Now(), Event: journal.Released, Node: l.Node, Kind: l.Kind, Lease: l.Lease})
		said = append(said, fmt.Sprintf("run %s died and left %s (lease %s), which was released", id, l.Node, l.Lease))
	}
	if len(entries) > 0 && entries[0].Start != nil && !hasEnd(entries) {
		said = append(said, e.recordKilled(id, entries)...)
		j.Add(journal.Entry{Time: e.Now(), Event: journal.RunEnd, Text: "it died",
			End: &journal.End{Status: string(Interrupted)}})
	}
	if err := j.Close(); err != nil {
		said, clean = append(said, fmt.Sprintf("run %s: %v", id, err)), false
	}
	return said, clean
}

func hasEnd(entries []journal.Entry) bool {
	for _, en := range entries {
		if en.End != nil {
			return true
		}
	}
	return false
}

// releaseLease closes a Hold of which no more is left than its lease and its
// parameters.
func (e *Engine) releaseLease(_ context.Context, l journal.Entry) error {
	kind := e.Kinds[l.Kind]
	if kind == nil {
		return fmt.Errorf("this pipeline has no kind %q", l.Kind)
	}
	step := kind.New()
	if err := json.Unmarshal(l.Params, step); err != nil {
		return fmt.Errorf("read its parameters: %w", err)
	}
	h, ok := step.(steps.Holder)
	if !ok {
		return fmt.Errorf("the kind %q holds nothing", l.Kind)
	}
	return closeHolder(h, l.Lease, orElse(e.CloseLimit, 2*time.Minute))
}

// recordKilled keeps, as evidence, that tries were cut short.
func (e *Engine) recordKilled(id string, entries []journal.Entry) (said []string) {
	for _, a := range journal.OpenAttempts(entries) {
		var key store.Key
		if err := key.UnmarshalText([]byte(a.Key)); err != nil || !e.Store.Has(key.Manifest()) {
			continue // it had not begun
		}
		done := e.Store.Latest(key, func(r *store.Record) bool { return r.Run == id && r.Attempt == a.Number && r.Node == a.Node })
		if done != nil {
			continue // it ended; only the journal does not say so
		}
		campaign, effect := entries[0].Start.Campaign, ""
		if k := e.Kinds[a.Kind]; k != nil {
			effect = k.Effect.String()
		}
		_, err := e.Store.Add(store.Record{Key: key, Kind: a.Kind, Effect: effect, Node: a.Node, Campaign: campaign, Run: id,
			Attempt: a.Number, Status: store.Failed, Reason: Killed.Name() + ": the run died", Began: a.Time, Host: e.Host})
		if err != nil {
			said = append(said, fmt.Sprintf("run %s died during %s, which could not be recorded: %v", id, a.Node, err))
			continue
		}
		said = append(said, fmt.Sprintf("run %s died during %s", id, a.Node))
	}
	return said
}
