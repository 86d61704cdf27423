package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// Frame is a captured frame.
type Frame struct {
	Time      time.Time
	Interface string
	Outgoing  bool // left by the interface, rather than came in
	Data      []byte
}

// Capture receives what passes interfaces of a namespace.
type Capture struct {
	files  []*os.File
	wg     sync.WaitGroup
	mu     sync.Mutex
	frames []Frame
	missed int
	errs   []error
}

// StartCapture captures on the named interfaces, at most limit frames that keep
// accepts, until Stop. It returns when the sockets are open: what is sent
// afterwards is seen.
func StartCapture(ns *hostnet.NetNS, ifaces []string, limit int, keep func([]byte) bool) (*Capture, error) {
	links, err := ns.Links()
	if err != nil {
		return nil, err
	}
	index := map[string]int{}
	for _, l := range links {
		index[l.Name] = l.Index
	}
	c := new(Capture)
	for _, name := range ifaces {
		i, ok := index[name]
		if !ok {
			c.Stop()
			return nil, fmt.Errorf("capture in %s: no interface %s", ns.Name, name)
		}
		f, err := packetSocket(ns, i, name)
		if err != nil {
			c.Stop()
			return nil, fmt.Errorf("capture on %s in %s: %w", name, ns.Name, err)
		}
		c.files = append(c.files, f)
		c.wg.Go(func() { c.read(f, name, limit, keep) })
	}
	return c, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func packetSocket(ns *hostnet.NetNS, index int, name string) (*os.File, error) {
	var fd int
	err := ns.Do(func() (err error) {
		// No protocol until it is bound, so that no other interface's frame gets in.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bind packet socket: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "capture on "+name), nil
}

func (c *Capture) read(f *os.File, name string, limit int, keep func([]byte) bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		c.fail(err)
		return
	}
	buf := make([]byte, 65536+64)
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) { // Stop's way to say so
				c.fail(err)
			}
			return
		}
		if rerr != nil {
			if errors.Is(rerr, unix.EINTR) {
				continue
			}
			c.fail(rerr)
			return
		}
		if !keep(buf[:n]) {
			continue
		}
		ll, _ := from.(*unix.SockaddrLinklayer)
		c.mu.Lock()
		if len(c.frames) < limit {
			c.frames = append(c.frames, Frame{
				Time: time.Now(), Interface: name, Outgoing: ll != nil && ll.Pkttype == unix.PACKET_OUTGOING,
				Data: append([]byte(nil), buf[:n]...),
			})
		} else {
			c.missed++
		}
		c.mu.Unlock()
	}
}

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// Frames are those captured so far.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Frame(nil), c.frames...)
}

// WaitFor waits until the captured frames satisfy enough, or ctx ends: a frame is
// handed to a packet socket a moment after it has passed.
func (c *Capture) WaitFor(ctx context.Context, enough func([]Frame) bool) error {
	for {
		if enough(c.Frames()) {
			return nil
		}
		t := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Stop ends the capture and returns what it has.
func (c *Capture) Stop() ([]Frame, error) {
	for _, f := range c.files {
		if err := f.SetReadDeadline(time.Unix(1, 0)); err != nil {
			c.fail(err)
		}
	}
	c.wg.Wait()
	for _, f := range c.files {
		f.Close()
	}
	c.files = nil
	return c.frames, errors.Join(c.errs...)
}
