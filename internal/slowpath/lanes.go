package slowpath

import (
	"sync"
)

// laneRoom is how many frames of one purpose may wait. A tap's queue has 512 for all of them.
const laneRoom = 256

// lane is the work for one purpose: who asks for much of it waits, or is refused, and holds up no other purpose. The
// reader of the tap never works itself, so that the tap's queue, which all purposes share, does
// not fill when one of them costs more time than there is.
type lane struct {
	*fair
	wait chan []byte
}

func newLane(f *fair) lane { return lane{f, make(chan []byte, laneRoom)} }

// buffers are what waits in lanes, used again.
type buffers struct{ pool sync.Pool }

func (b *buffers) copy(frame []byte) []byte {
	old, _ := b.pool.Get().(*[]byte)
	if old == nil {
		old = new([]byte)
	}
	return append((*old)[:0], frame...)
}

func (b *buffers) free(frame []byte) { b.pool.Put(&frame) }

// work serves the lanes until each is closed and empty.
func (s *Server) work() *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, l := range s.lanes() {
		wg.Go(func() {
			for b := range l.wait {
				s.handle(b)
				s.buffers.free(b)
			}
		})
	}
	return &wg
}

func (s *Server) lanes() []*lane { return []*lane{&s.icmp, &s.tooBig, &s.frag, &s.probe, &s.arp} }

// queue gives a frame to its lane, or refuses it where that has no room.
func (s *Server) queue(l *lane, frame []byte) {
	b := s.buffers.copy(frame)
	select {
	case l.wait <- b:
	default:
		s.buffers.free(b)
		s.nLimited.Add(1)
	}
}
