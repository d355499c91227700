package rooflinesweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"pipeline/internal/roofline"
	"pipeline/steps"
)

// Dmon captures GPU counters with dcgmi dmon.
type Dmon struct {
	Capture bool           `json:"capture" key:"yes" doc:"Capture; a sweep without counters does not stand for one with them."`
	Command []string       `json:"command" key:"no" doc:"Command line up to and with dcgmi dmon, on the node that serves. -e and -d are added."`
	Delay   steps.Duration `json:"delay" key:"yes" min:"100ms" doc:"Between two rows; DCGM documents no less than 100ms."`
	Fields  []int          `json:"fields" key:"yes" min:"1" doc:"Field ids, in the order of columns."`
	Host    string         `json:"host" key:"no" doc:"Name of the node, for the report."`
}

func (d *Dmon) check() error {
	switch {
	case d.Capture && len(d.Command) == 0:
		return &steps.ParamError{Param: "dmon.command", Err: errors.New("name the command: [dcgmi, dmon]")}
	case !d.Capture && len(d.Command) > 0:
		return &steps.ParamError{Param: "dmon.capture", Err: errors.New("there is a command, and nothing is to be captured: write capture: true, or leave the command out")}
	case d.Capture && len(d.Fields) == 0:
		return &steps.ParamError{Param: "dmon.fields", Err: errors.New("name at least one field id")}
	}
	return nil
}

func (d *Dmon) args() []string {
	ids := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		ids[i] = strconv.Itoa(f)
	}
	return append(append([]string{}, d.Command...), "-e", strings.Join(ids, ","), "-d", strconv.FormatInt(time.Duration(d.Delay).Milliseconds(), 10))
}

// How a capture begins and ends.
const (
	firstRow  = 10 * time.Second // until dcgmi has printed a row
	dmonEnds  = 2 * time.Second  // from SIGINT to SIGKILL
	dmonLines = 64 << 20         // bytes of lines that are kept of a cell
	dmonLine  = 64 << 10         // bytes of one line
)

// A capture is a dcgmi dmon that runs beside a cell. The nil one captures
// nothing.
type capture struct {
	dmon *Dmon
	env  *steps.Env
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done

	mu     sync.Mutex
	lines  bytes.Buffer // stamped
	rest   []byte       // of a line that is not whole
	row    chan struct{}
	seen   bool // a row: row is closed
	stderr bytes.Buffer
}

// start starts a capture and waits for its first row, so that the load begins
// with the counters on.
func (d *Dmon) start(ctx context.Context, env *steps.Env) (*capture, error) {
	if !d.Capture {
		return nil, nil
	}
	args := d.args()
	c := &capture{dmon: d, env: env, done: make(chan struct{}), row: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(os.Interrupt) }
	c.cmd.WaitDelay = dmonEnds
	c.cmd.Stdout, c.cmd.Stderr = c, &c.stderr
	ended := env.Recorded(c.cmd)
	if err := c.cmd.Start(); err != nil {
		ended(err)
		return nil, fmt.Errorf("capture GPU counters with %s: %w", strings.Join(args, " "), err)
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
		ended(c.err)
	}()
	select {
	case <-c.row:
	case <-c.done:
		env.Log.Warn("dcgmi dmon ended before it printed a row", "command", strings.Join(args, " "))
	case <-time.After(firstRow):
		env.Log.Warn("dcgmi dmon printed no row so far", "waited", firstRow)
	case <-ctx.Done():
	}
	return c, nil
}

// Write stamps the lines of dcgmi when they come.
func (c *capture) Write(p []byte) (int, error) {
	now := c.env.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, whole := bytes.Cut(c.rest, []byte("\n"))
		if !whole {
			break
		}
		c.rest = rest
		if c.lines.Len() < dmonLines {
			fmt.Fprintf(&c.lines, "%d\t%s\n", now, bytes.TrimRight(line, "\r"))
		}
		if !c.seen && bytes.HasPrefix(bytes.TrimSpace(line), []byte("GPU")) {
			c.seen = true
			close(c.row)
		}
	}
	if len(c.rest) > dmonLine { // no line of dcgmi
		c.rest = nil
	}
	return len(p), nil
}

// stop ends the capture, and adds what it printed to the files of the cell.
func (c *capture) stop(files map[string][]byte) {
	if c == nil {
		return
	}
	_ = c.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	select {
	case <-c.done:
	case <-time.After(dmonEnds):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines.Len() == 0 {
		c.env.Log.Warn("dcgmi dmon printed nothing", "error", c.err, "stderr", strings.TrimSpace(c.stderr.String()))
	}
	meta := roofline.DmonMeta{Command: strings.Join(c.dmon.args(), " "), Fields: c.dmon.Fields, DelayMS: int(time.Duration(c.dmon.Delay).Milliseconds()), Host: c.dmon.Host}
	files[roofline.DmonFile] = bytes.Clone(c.lines.Bytes())
	files[roofline.DmonMetaFile] = meta.YAML()
}
