package transcript

import (
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/conversation"
)

// Columns name what is not found by its name.
type Columns struct {
	ID, Conversation, System, User, Assistant string
}

// A Reader reads the files of one data set, one after another.
type Reader struct {
	Columns  Columns
	MaxTurns int // of a conversation; the rest is cut off. 0 is no limit
	MaxISL   int // tokens of a request; the turns from there are cut off. 0 is no limit

	rows              int
	kept              int
	ids               map[string]int
	drops             map[string]int
	stated, estimated bool // some token counts are the source's, some are not
}

// File yields the conversations of a file, and ends behind the first error.
// The name is for messages; its extension says what the file is.
func (r *Reader) File(path, name string) iter.Seq2[conversation.Conversation, error] {
	rows := jsonRows
	if strings.EqualFold(filepath.Ext(name), ".parquet") {
		rows = parquetRows
	}
	return func(yield func(conversation.Conversation, error) bool) {
		n := 0
		for row, err := range rows(path) {
			if err != nil {
				yield(conversation.Conversation{}, fmt.Errorf("%s: %w", name, err))
				return
			}
			n++
			r.rows++
			c, err := r.convert(row)
			if err != nil && r.kept == 0 && r.rows == 1 {
				yield(c, fmt.Errorf("%s: row %d: %w", name, n, err))
				return
			}
			if err != nil {
				r.LeaveOut(err)
				continue
			}
			r.kept++
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (r *Reader) drop(why string) {
	if r.drops == nil {
		r.drops = make(map[string]int)
	}
	if len(r.drops) >= 50 && r.drops[why] == 0 {
		why = "for other reasons"
	}
	r.drops[why]++
}

// RowLeftOut begins the reason of a row that became no conversation.
const RowLeftOut = "row left out: "

// LeaveOut counts a row that became no conversation.
func (r *Reader) LeaveOut(err error) { r.drop(RowLeftOut + err.Error()) }

// Drops says what was left out or changed, by its reason.
func (r *Reader) Drops() []conversation.Drop {
	var drops []conversation.Drop
	for _, why := range slices.Sorted(maps.Keys(r.drops)) {
		drops = append(drops, conversation.Drop{Count: r.drops[why], Why: why})
	}
	return drops
}

// Rows is how many rows were read.
func (r *Reader) Rows() int { return r.rows }

// Estimated is how Tokens describes counts of this package's own.
const Estimated = "estimated from characters, 4 a token"

// Tokens says who counted the tokens.
func (r *Reader) Tokens() string {
	switch {
	case r.stated && r.estimated:
		return "as the source states; where it does not, " + Estimated
	case r.stated:
		return "as the source states"
	}
	return Estimated
}

// estimate is the number of tokens of so many characters.
func estimate(characters int) int { return (characters + 3) / 4 }
