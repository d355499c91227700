package jsonscan

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrLong is the fault of a value that is longer than was allowed.
var ErrLong = errors.New("a value is too long")

// Elements yields the elements of the array that a member of the outermost
// object is, as they stand in the text, which need not be in memory: only one
// value of it is, and none that is longer than most. An element is valid until
// the next one comes. That there is no such member is an error; after an error
// nothing comes.
func Elements(r io.Reader, member string, most int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		t := &text{r: r, most: most}
		if err := t.elements(member, func(element []byte) bool { return yield(element, nil) }); err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// errStop ends a walk that nobody wants to go on.
var errStop = errors.New("stop")

// A text is read as far as it is needed.
type text struct {
	r    io.Reader
	b    []byte
	i    int   // what is before it is done with
	gone int64 // bytes that were there before b
	end  error // why r gives no more, nil as long as it may
	most int
}

func (t *text) elements(member string, yield func([]byte) bool) error {
	found := false
	for first := byte('{'); ; first = ',' {
		c, err := t.token()
		switch {
		case err != nil:
			return err
		case c == '}' && first == ',':
			if c, err := t.token(); err != io.EOF {
				return t.fault(fmt.Sprintf("%q after the end", c))
			}
			if !found {
				return fmt.Errorf("member %s: it is missing", member)
			}
			return nil
		case c != first:
			return t.fault(fmt.Sprintf("%q is wanted, not %q", first, c))
		}
		if first == '{' && t.at('}') {
			continue // an empty object, whose end the next turn sees
		}
		name, err := t.value()
		if err != nil {
			return err
		}
		is := string(name) == `"`+member+`"`
		if err := t.want(':', "a colon is wanted"); err != nil {
			return err
		}
		if !is || found {
			if _, err := t.value(); err != nil {
				return err
			}
			continue
		}
		found = true
		if err := t.list(yield); err != nil {
			return err
		}
	}
}

func (t *text) list(yield func([]byte) bool) error {
	if err := t.want('[', "a list is wanted"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if t.at(']') {
			t.i++
			return nil
		}
		if n > 0 {
			if err := t.want(',', "a comma or the end of the list is wanted"); err != nil {
				return err
			}
		}
		element, err := t.value()
		if err != nil {
			return err
		}
		if !yield(element) {
			return errStop
		}
	}
}

// at reports whether the next byte that is no space is c.
func (t *text) at(c byte) bool {
	got, err := t.token()
	if err != nil {
		return false
	}
	t.i--
	return got == c
}

// want consumes the byte c.
func (t *text) want(c byte, otherwise string) error {
	got, err := t.token()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case err != nil || got != c:
		return t.fault(otherwise)
	}
	return nil
}

// token consumes the next byte that is no space.
func (t *text) token() (byte, error) {
	for {
		for ; t.i < len(t.b); t.i++ {
			switch c := t.b[t.i]; c {
			case ' ', '\t', '\n', '\r':
			default:
				t.i++
				return c, nil
			}
		}
		if err := t.more(); err != nil {
			return 0, err
		}
	}
}

// value consumes the next value.
func (t *text) value() ([]byte, error) {
	for {
		s := New(t.b[t.i:])
		value := s.Skip()
		whole := s.Err() == nil && (s.Offset() < len(t.b)-t.i || t.end != nil)
		if whole {
			t.i += s.Offset()
			return value, nil
		}
		if len(t.b)-t.i > t.most {
			return nil, fmt.Errorf("byte %d: %w: more than %d bytes", t.gone+int64(t.i), ErrLong, t.most)
		}
		switch err := t.more(); {
		case err == nil, s.Err() == nil: // in the second case it ends with the text
		case errors.Is(err, io.EOF):
			return nil, t.fault("cut off")
		default:
			return nil, err
		}
	}
}

// more reads on. What is done with makes room.
func (t *text) more() error {
	if t.end != nil {
		return t.end
	}
	if t.i > 0 {
		t.gone += int64(t.i)
		t.b = t.b[:copy(t.b, t.b[t.i:])]
		t.i = 0
	}
	if free := cap(t.b) - len(t.b); free < cap(t.b)/2 || free < 64<<10 {
		t.b = append(make([]byte, 0, 2*cap(t.b)+256<<10), t.b...)
	}
	n, err := io.ReadAtLeast(t.r, t.b[len(t.b):cap(t.b)], 1)
	t.b = t.b[:len(t.b)+n]
	if n == 0 {
		t.end = err
	}
	return t.end
}

func (t *text) fault(what string) error {
	return fmt.Errorf("byte %d: %w: %s", t.gone+int64(t.i), ErrSyntax, what)
}
