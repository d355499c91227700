package zymtrace

import (
	"fmt"
	"strconv"
	"strings"

	"pipeline/internal/profile"
)

// parseFolded reads a line a stack. The kernel is the deepest frame that a rule
// names, since below it a profiler may show instructions and stall reasons; a
// stack without one counts by its leaf.
func parseFolded(text []byte, c *profile.Classifier) (Reading, error) {
	r := Reading{Unit: profile.Samples}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		stack, count, ok := cutCount(line)
		if !ok {
			return Reading{}, fmt.Errorf("line %d: %.80q is no stack: want frames joined by semicolons, a space and a count", number, line)
		}
		if len(r.Entries) == maxEntries {
			return Reading{}, fmt.Errorf("more than %d stacks", maxEntries)
		}
		r.Entries = append(r.Entries, profile.Entry{Kernel: kernelOf(stack, c), Amount: count})
	}
	return r, nil
}

// cutCount splits a stack from its count.
func cutCount(line string) (stack string, count float64, ok bool) {
	i := strings.LastIndexAny(line, " \t")
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(line[i+1:], 10, 53)
	if err != nil {
		return "", 0, false
	}
	return strings.TrimSpace(line[:i]), float64(n), true
}

func kernelOf(stack string, c *profile.Classifier) string {
	frames := strings.Split(stack, ";")
	for i := len(frames) - 1; i >= 0; i-- {
		frame := strings.TrimSpace(frames[i])
		if _, named := c.Category(frame); named {
			return frame
		}
	}
	return strings.TrimSpace(frames[len(frames)-1])
}
