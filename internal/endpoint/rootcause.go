package endpoint

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

const (
	maxLogLine = 4 << 10  // of a line of a log that is looked at
	maxLog     = 64 << 20 // of a log that is read
	maxCause   = 500
)

// A process of vLLM marks its lines: (EngineCore_DP0 pid=71), (Worker_TP0
// pid=80), (VllmWorker rank=1 pid=80), (RayWorkerWrapper pid=80, ip=…).
var (
	processRE = regexp.MustCompile(`^\(((?:EngineCore|Worker|VllmWorker|RayWorkerWrapper|APIServer)[^)]*)\) ?`)
	logHeadRE = regexp.MustCompile(`^(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]*\])? ?`)
	mildRE    = regexp.MustCompile(`^(?:INFO|WARNING|DEBUG)\b`)
	ansiRE    = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	raisedRE  = regexp.MustCompile(`^[A-Za-z_][\w.]*(?::|$)`)
	// What stands at the end of a log and only points at the cause.
	pointerRE = regexp.MustCompile(`See root cause above|EngineDeadError|See stack trace|core proc\(s\)`)
	plainRE   = regexp.MustCompile(`(?i)\b(?:error|panic|fatal|out of memory|killed)\b|[a-z](?:Error|Exception)\b`)
)

// RootCause returns the line of a server's log that says why it died, or "" if
// there is none. In vLLM that is the first exception of an EngineCore or a
// worker: the end of the log only points back at it.
func RootCause(log io.Reader) string {
	var workers, others tracebacks
	firstError := ""
	in := bufio.NewReaderSize(io.LimitReader(log, maxLog), maxLogLine)
	for {
		line, err := readLine(in)
		if line != "" {
			process, text, mild := splitLine(line)
			switch {
			case process != "" && !strings.HasPrefix(process, "APIServer"):
				workers.add(process, text)
			default:
				others.add(process, text)
			}
			if firstError == "" && !mild && plainRE.MatchString(text) && !pointerRE.MatchString(text) && !strings.HasPrefix(text, "Traceback") {
				firstError = with(process, strings.TrimSpace(text))
			}
		}
		if err != nil {
			break
		}
	}
	for _, cause := range []string{workers.cause, others.cause, firstError, workers.pointer, others.pointer} {
		if cause != "" {
			return cause
		}
	}
	return ""
}

// readLine returns the next line without its end, cut at maxLogLine.
func readLine(in *bufio.Reader) (string, error) {
	b, err := in.ReadSlice('\n')
	line := strings.ToValidUTF8(string(b), "")
	for err == bufio.ErrBufferFull {
		_, err = in.ReadSlice('\n')
	}
	return strings.TrimRight(line, "\r\n"), err
}

// splitLine takes a line apart; mild is true for a line of a level below ERROR.
func splitLine(line string) (process, text string, mild bool) {
	text = ansiRE.ReplaceAllString(line, "")
	if m := processRE.FindStringSubmatch(text); m != nil {
		process, text = m[1], text[len(m[0]):]
	}
	return process, logHeadRE.ReplaceAllString(text, ""), mildRE.MatchString(text)
}

// tracebacks finds the first exception that ends a Python traceback, where
// lines of several processes are mixed.
type tracebacks struct {
	open    map[string]bool // processes inside a traceback
	cause   string          // the first exception
	pointer string          // the first one that only points at another
}

func (t *tracebacks) add(process, text string) {
	if strings.HasPrefix(text, "Traceback (most recent call last)") {
		if t.open == nil {
			t.open = map[string]bool{}
		}
		t.open[process] = true
		return
	}
	// Frames of the stack are indented; the exception is not.
	if !t.open[process] || !raisedRE.MatchString(text) {
		return
	}
	delete(t.open, process)
	switch {
	case pointerRE.MatchString(text):
		if t.pointer == "" {
			t.pointer = with(process, text)
		}
	case t.cause == "":
		t.cause = with(process, text)
	}
}

func with(process, text string) string {
	if process != "" {
		text = "(" + process + ") " + text
	}
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return text
}
