package dataset

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"

	"pipeline/internal/conversation"
)

type conversations = iter.Seq2[conversation.Conversation, error]

// takeFirst writes the first n conversations, 0 is all, and reads no further.
func takeFirst(ctx context.Context, all conversations, n int, w *conversation.Writer) error {
	taken := 0
	for c, err := range all {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.Write(c)
		}
		if err != nil {
			return err
		}
		if taken++; taken == n {
			return nil
		}
	}
	return nil
}

// takeDrawn returns a function that writes n conversations, 0 is all, drawn by
// the seed: each gets a number drawn for its place in the source, and they
// come in the order of those. So fewer of one seed are the beginning of more.
// All lie in a file meanwhile, as a data set need not fit into memory.
func takeDrawn(seed int64, path string) func(context.Context, conversations, int, *conversation.Writer) error {
	return func(ctx context.Context, all conversations, n int, w *conversation.Writer) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		places, err := spool(ctx, all, seed, f)
		if err != nil {
			return err
		}
		slices.SortFunc(places, func(a, b place) int {
			switch {
			case a.draw < b.draw:
				return -1
			case a.draw > b.draw:
				return 1
			}
			return int(a.at - b.at)
		})
		if n > 0 {
			places = places[:min(n, len(places))]
		}
		for _, p := range places {
			var c conversation.Conversation
			if err := json.NewDecoder(io.NewSectionReader(f, p.at, p.size)).Decode(&c); err != nil {
				return fmt.Errorf("read back what was read: %w", err)
			}
			if err := errors.Join(ctx.Err(), w.Write(c)); err != nil {
				return err
			}
		}
		return nil
	}
}

// A place is where a conversation lies, and the number it has drawn.
type place struct {
	draw     uint64
	at, size int64
}

// spool writes all conversations to f. PCG is a fixed algorithm, so that a
// seed draws the same for ever.
func spool(ctx context.Context, all conversations, seed int64, f io.Writer) ([]place, error) {
	var places []place
	draw := rand.NewPCG(uint64(seed), 0)
	out := bufio.NewWriterSize(f, 256<<10)
	at := int64(0)
	for c, err := range all {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		line, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		if _, err := out.Write(line); err != nil {
			return nil, err
		}
		places = append(places, place{draw.Uint64(), at, int64(len(line))})
		at += int64(len(line))
	}
	return places, out.Flush()
}
