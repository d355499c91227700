package hubtest

import (
	"io"
	"net/http"
	"time"
)

// noTime leaves out the Last-Modified header.
var noTime time.Time

// A cut sends so many bytes of a body and then hangs up.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	c.left -= n
	if err == nil && c.left == 0 {
		err = io.ErrShortWrite
	}
	return n, err
}
