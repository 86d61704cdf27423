package hwvtep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// The bounds of a session. A switch that keeps to none of them loses it.
const (
	callTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	maxMessage   = 64 << 20 // bytes
)

// conn speaks JSON-RPC 1.0 as RFC 7047 §4 has it: requests and answers both ways
// over one stream, without frames.
type conn struct {
	stream net.Conn
	notify func(method string, params json.RawMessage) error // called by read

	writing sync.Mutex

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
	err     error // why it ended
	done    chan struct{}
}

type answer struct {
	result json.RawMessage
	err    error
}

// message is a request, a notification (no id) or an answer (no method).
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// newConn reads from stream in a goroutine of its own, until close or an error.
func newConn(stream net.Conn, notify func(string, json.RawMessage) error) *conn {
	c := &conn{stream: stream, notify: notify, waiting: map[uint64]chan answer{}, done: make(chan struct{})}
	go c.read()
	return c
}

// close ends the session and waits until nothing of it runs any more.
func (c *conn) close() {
	c.end(net.ErrClosed)
	<-c.done
}

func (c *conn) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	_ = c.stream.Close()
}

// ended is closed when nothing comes any more; failure says why.
func (c *conn) ended() <-chan struct{} { return c.done }

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *conn) read() {
	defer close(c.done)
	limited := &limitedReader{r: c.stream}
	dec := json.NewDecoder(limited)
	for {
		limited.left = maxMessage
		var m message
		err := dec.Decode(&m)
		if err == nil {
			err = c.take(m)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the switch ended the connection")
			}
			c.end(err)
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, w := range c.waiting {
		w <- answer{err: c.err}
		delete(c.waiting, id)
	}
}

// limitedReader ends a message that is too long.
type limitedReader struct {
	r    io.Reader
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a message of more than %d bytes", maxMessage)
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func isNull(b json.RawMessage) bool { return len(b) == 0 || string(b) == "null" }

func (c *conn) take(m message) error {
	switch {
	case m.Method == "echo" && !isNull(m.ID):
		return c.write(map[string]any{"id": m.ID, "result": m.Params, "error": nil})
	case m.Method != "" && isNull(m.ID):
		return c.notify(m.Method, m.Params)
	case m.Method != "":
		return c.write(map[string]any{"id": m.ID, "result": nil, "error": "unknown method"})
	}
	var id uint64
	if err := json.Unmarshal(m.ID, &id); err != nil {
		return nil // no answer to us
	}
	c.mu.Lock()
	w := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if w == nil {
		return nil // somebody has given up
	}
	a := answer{result: m.Result}
	if !isNull(m.Error) {
		a.err = fmt.Errorf("the switch answers: %s", clip(string(m.Error)))
	}
	w <- a
	return nil
}

func (c *conn) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.stream.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = c.stream.Write(b)
	return err
}

// call makes a request and waits for its answer, no longer than callTimeout. Without
// an answer the session ends: what became of the request is not known.
func (c *conn) call(ctx context.Context, result any, method string, params ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w := make(chan answer, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.last++
	id := c.last
	c.waiting[id] = w
	c.mu.Unlock()
	if params == nil {
		params = []any{}
	}
	if err := c.write(map[string]any{"id": id, "method": method, "params": params}); err != nil {
		c.end(err)
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-w:
		if a.err != nil {
			return fmt.Errorf("%s: %w", method, a.err)
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(a.result, result); err != nil {
			return fmt.Errorf("%s: the answer: %w", method, err)
		}
		return nil
	case <-ctx.Done():
		err := fmt.Errorf("%s: no answer: %w", method, ctx.Err())
		c.end(err)
		return err
	}
}

// errRefused: the switch's database did not take a transaction; nothing of it
// happened.
type errRefused struct{ text string }

func (e *errRefused) Error() string { return "the switch refuses: " + e.text }

// transact makes one transaction, which happens only while this session has the
// lock.
func (c *conn) transact(ctx context.Context, lock string, ops []ovsdb.Operation) error {
	params := make([]any, 0, len(ops)+2)
	params = append(params, database, ovsdb.Operation{Op: ovsdb.OperationAssert, Lock: &lock})
	for _, op := range ops {
		params = append(params, op)
	}
	// An answer of null stands for an operation that was not come to; one more than
	// there are operations tells of an error at the commit (RFC 7047 §4.1.3).
	var results []*struct {
		Error   string `json:"error"`
		Details string `json:"details"`
	}
	if err := c.call(ctx, &results, "transact", params...); err != nil {
		return err
	}
	for _, r := range results {
		if r != nil && r.Error != "" {
			return &errRefused{clip(r.Error + ": " + r.Details)}
		}
	}
	if len(results) < len(ops)+1 {
		return &errRefused{"an answer with too few results"}
	}
	return nil
}
