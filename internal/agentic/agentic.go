// Package agentic makes conversations of a coding agent: a system prompt with
// tools, a task, and turn after turn what the tools returned and what the
// model answered. It is the data set for where there is none: on a machine
// without network, in a test, for a first look.
//
// Nobody ever said these things. What is like the real thing is the shape: a
// long prefix that all conversations share, prompts that grow by files and
// test logs, answers that are mostly short calls of tools and now and then a
// long patch, and three to fourteen turns. A seed and a number give the same
// conversation for ever; two numbers never give the same.
package agentic

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"pipeline/internal/conversation"
)

// Revision names what Make makes. It would change with it.
const Revision = "1"

// Make returns conversation number i of a seed.
func Make(seed int64, i int) conversation.Conversation {
	a := &author{PCG: rand.NewPCG(uint64(seed), uint64(i))}
	a.module = fmt.Sprintf("%s-%s-%04x", strings.ToLower(a.of(nouns)), a.of(systems), a.Uint64()&0xffff)
	c := conversation.Conversation{ID: fmt.Sprintf("agentic-%d-%06d", seed, i), System: system}
	turns := 3 + a.below(4)
	for turns < 14 && a.below(3) > 0 {
		turns++
	}
	said := a.task()
	for t := range turns {
		var answer string
		switch {
		case t == turns-1:
			answer = a.summary()
		case t%3 == 2:
			answer = a.edit()
		default:
			answer = a.call()
		}
		c.Turns = append(c.Turns, conversation.Turn{User: said, Assistant: answer})
		said = a.result(t)
	}
	count(&c)
	return c
}

// count takes four characters for a token, about what tokenizers of English
// and code come to.
func count(c *conversation.Conversation) {
	tokens := func(s string) int { return (utf8.RuneCountInString(s) + 3) / 4 }
	history := tokens(c.System)
	for i := range c.Turns {
		t := &c.Turns[i]
		history += tokens(t.User)
		t.ISL, t.OSL = history, tokens(t.Assistant)
		history += t.OSL
	}
}

// An author writes one conversation. The generator PCG is a fixed algorithm.
type author struct {
	*rand.PCG
	module string
	file   string // that is being worked on
	symbol string
}

func (a *author) below(n int) int          { return int(a.Uint64() % uint64(n)) }
func (a *author) of(words []string) string { return words[a.below(len(words))] }

// name makes an identifier.
func (a *author) name() string { return a.of(verbs) + a.of(nouns) + a.of(suffixes) }

func (a *author) pick() {
	a.symbol = a.name()
	a.file = fmt.Sprintf("internal/%s/%s_%s.go", a.of(systems), strings.ToLower(a.of(nouns)), strings.ToLower(a.of(verbs)))
}

func (a *author) task() string {
	a.pick()
	var b strings.Builder
	fmt.Fprintf(&b, "In the module %s, %s %s. %s\n\n", a.module, a.symbol, a.of(faults), a.of(wishes))
	fmt.Fprintf(&b, "The file is %s. These are the files around it:\n\n", a.file)
	for range 8 + a.below(24) {
		fmt.Fprintf(&b, "  %6d  internal/%s/%s_%s.go\n", 400+a.below(90000), a.of(systems), strings.ToLower(a.of(nouns)), strings.ToLower(a.of(verbs)))
	}
	fmt.Fprintf(&b, "\nRun `go test ./internal/...` before you finish.")
	return b.String()
}

// call is a short answer: a thought and a call of a tool.
func (a *author) call() string {
	thought := fmt.Sprintf("I will look at how %s uses %s before I change anything.", a.symbol, a.name())
	switch a.below(3) {
	case 0:
		return fmt.Sprintf("%s\n{\"name\":\"read_file\",\"arguments\":{\"path\":%q,\"from\":%d,\"to\":%d}}", thought, a.file, 1+a.below(40), 120+a.below(200))
	case 1:
		return fmt.Sprintf("%s\n{\"name\":\"search\",\"arguments\":{\"pattern\":\"%s\\\\(\",\"path\":\"internal\"}}", thought, a.symbol)
	}
	return fmt.Sprintf("%s %s\n{\"name\":\"run\",\"arguments\":{\"command\":\"go test ./internal/%s -run %s\"}}", thought, a.of(wishes), a.of(systems), a.symbol)
}

// edit is a long answer: why, and the patch.
func (a *author) edit() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s because %s is called while the lock is held. I move that call out and keep the order of the writes.\n", a.symbol, a.of(faults), a.name())
	fmt.Fprintf(&b, "{\"name\":\"edit_file\",\"arguments\":{\"path\":%q,\"patch\":\n--- a/%s\n+++ b/%s\n@@ -%d,%d +%d,%d @@\n", a.file, a.file, a.file, 20+a.below(200), 8, 20+a.below(200), 12)
	for range 8 + a.below(40) {
		fmt.Fprintf(&b, "%s%s\n", a.of([]string{"+", "+", "-", " "}), a.statement())
	}
	b.WriteString("}}")
	return b.String()
}

func (a *author) summary() string {
	return fmt.Sprintf("%s no longer fails: %s now takes its lock after %s has returned, and a test holds the order. All tests pass. I left %s as it is, since nothing outside of %s calls it.",
		a.symbol, a.name(), a.name(), a.name(), a.file)
}

// result is what a tool returned to the answer of turn t.
func (a *author) result(t int) string {
	switch {
	case t%3 == 2:
		return a.tests()
	case a.below(4) == 0:
		return a.matches()
	}
	return a.source()
}

func (a *author) source() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<result tool=\"read_file\" path=%q>\n", a.file)
	line := 1 + a.below(40)
	put := func(text string) {
		fmt.Fprintf(&b, "%4d\t%s\n", line, text)
		line++
	}
	for range 2 + a.below(7) {
		name := a.name()
		put(fmt.Sprintf("// %s gives the %s that belongs to a %s.", name, strings.ToLower(a.of(nouns)), strings.ToLower(a.of(nouns))))
		put(fmt.Sprintf("func (s *%s) %s(ctx context.Context, id %sID) (*%s, error) {", a.of(nouns), name, a.of(nouns), a.of(nouns)))
		for range 6 + a.below(14) {
			put(a.statement())
		}
		put("}")
		put("")
	}
	b.WriteString("</result>")
	return b.String()
}

func (a *author) statement() string {
	n, m := a.of(nouns), a.name()
	switch a.below(6) {
	case 0:
		return fmt.Sprintf("\tif err := s.%s(ctx, %s.ID); err != nil {", m, strings.ToLower(n))
	case 1:
		return fmt.Sprintf("\t\treturn nil, fmt.Errorf(\"%s %s: %%w\", err)", strings.ToLower(a.of(verbs)), strings.ToLower(n))
	case 2:
		return fmt.Sprintf("\t%s := make(map[%sID]*%s, %d)", strings.ToLower(n)+"s", n, a.of(nouns), 1<<a.below(10))
	case 3:
		return fmt.Sprintf("\tfor _, %s := range s.%s(%d) {", strings.ToLower(n), m, a.below(512))
	case 4:
		return fmt.Sprintf("\ts.%s.Lock() // held until %s returns", strings.ToLower(a.of(systems)), m)
	}
	return fmt.Sprintf("\t%s.%s = append(%s.%s, %q)", strings.ToLower(n), a.of(suffixes), strings.ToLower(n), a.of(suffixes), a.name())
}

func (a *author) matches() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<result tool=\"search\" matches=\"%d\">\n", 8+a.below(40))
	for range 8 + a.below(40) {
		fmt.Fprintf(&b, "internal/%s/%s.go:%d:%s\n", a.of(systems), strings.ToLower(a.of(nouns)), 1+a.below(900), a.statement())
	}
	b.WriteString("</result>")
	return b.String()
}

func (a *author) tests() string {
	var b strings.Builder
	b.WriteString("<result tool=\"run\" exit=\"1\">\n")
	for range 3 + a.below(5) {
		name := a.name()
		fmt.Fprintf(&b, "=== RUN   Test%s\n", name)
		if a.below(2) == 0 {
			fmt.Fprintf(&b, "    %s_test.go:%d: got %d, want %d: %s\n", strings.ToLower(a.of(nouns)), 20+a.below(300), a.below(4096), a.below(4096), a.statement())
			fmt.Fprintf(&b, "--- FAIL: Test%s (0.%02ds)\n", name, a.below(100))
		} else {
			fmt.Fprintf(&b, "--- PASS: Test%s (0.%02ds)\n", name, a.below(100))
		}
	}
	fmt.Fprintf(&b, "FAIL\t%s/internal/%s\t0.%03ds\n</result>", a.module, a.of(systems), a.below(1000))
	return b.String()
}
