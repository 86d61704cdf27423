package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

var (
	here  = netip.MustParseAddr("192.168.0.1")
	there = netip.MustParseAddr("192.168.0.2")
)

func request() Request {
	return Request{Router: 7, Source: here, Target: there, Count: 4, Interval: 20 * time.Millisecond, Timeout: 200 * time.Millisecond}
}

func unlimited(model.RouterKey) uint64 { return 0 }

// TestLimited: answers that the host dropped because there were too many of the kind are told
// as such, and only where one is missing.
func TestLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		p := NewProber(func(model.RouterKey, []byte) error { dropped.Add(3); return nil }, func(model.RouterKey) uint64 { return dropped.Load() })
		q := request()
		res, err := p.Run(t.Context(), q)
		if err != nil || res.Received != 0 || len(res.Errors) != 1 || res.Errors[0].Reason != "slow_path_limited" || res.Errors[0].Count != 3*q.Count {
			t.Errorf("%+v %v", res, err)
		}
	})
}

// network answers what a prober sends, as the world would, from another goroutine.
type network struct {
	p      *Prober
	answer func(p *Prober, ip []byte)
	wg     sync.WaitGroup
}

func (n *network) send(router model.RouterKey, ip []byte) error {
	ip = bytes.Clone(ip)
	n.wg.Go(func() { n.answer(n.p, ip) })
	return nil
}

func run(t *testing.T, r Request, answer func(*Prober, []byte)) (Result, error) {
	t.Helper()
	n := &network{answer: answer}
	n.p = NewProber(n.send, unlimited)
	res, err := n.p.Run(t.Context(), r)
	n.wg.Wait()
	if len(n.p.waiting) != 0 || len(n.p.routers) != 0 || n.p.running != 0 {
		t.Errorf("left behind: %d waiting, %d routers, %d running", len(n.p.waiting), len(n.p.routers), n.p.running)
	}
	return res, err
}

func echo(p *Prober, ip []byte) {
	ip = bytes.Clone(ip)
	packet.TurnEchoRound(ip)
	p.Answer(7, ip, nil)
}

func TestReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, err := run(t, request(), func(p *Prober, ip []byte) {
			<-time.After(3 * time.Millisecond)
			echo(p, ip)
			echo(p, ip) // a duplicate counts once
		})
		want := Result{Sent: 4, Received: 4, RTTMin: 3 * time.Millisecond, RTTAvg: 3 * time.Millisecond, RTTMax: 3 * time.Millisecond}
		if err != nil || res.Sent != want.Sent || res.Received != want.Received || res.RTTMin != want.RTTMin || res.RTTAvg != want.RTTAvg || res.RTTMax != want.RTTMax || len(res.Errors) != 0 {
			t.Fatalf("%+v, %v; want %+v", res, err, want)
		}
	})
}

func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		res, err := run(t, request(), func(p *Prober, ip []byte) {
			if n.Add(1) != 2 {
				return
			}
			echo(p, ip)
		})
		if err != nil || res.Sent != 4 || res.Received != 1 || res.Loss() != 0.75 {
			t.Fatalf("%+v, %v", res, err)
		}
	})
}

func TestErrorsOfRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, err := run(t, request(), func(p *Prober, ip []byte) {
			e, err := packet.BuildICMPError(ip, packet.ICMPError{Type: packet.ICMPUnreachable, Code: packet.ICMPHostUnreachable, Src: there})
			if err != nil {
				t.Error(err)
			}
			p.Answer(7, e, nil)
		})
		if err != nil || res.Received != 0 || len(res.Errors) != 1 || res.Errors[0].Count != 4 || res.Errors[0].From != there {
			t.Fatalf("%+v, %v", res, err)
		}
		res, err = run(t, request(), func(p *Prober, ip []byte) {
			p.Answer(7, ip, &Failure{Reason: reason.NeighborUnknown, Type: packet.ICMPUnreachable, Code: packet.ICMPHostUnreachable})
		})
		if err != nil || len(res.Errors) != 1 || res.Errors[0].Reason != "neighbor_unknown" || res.Errors[0].From.IsValid() {
			t.Fatalf("%+v, %v", res, err)
		}
	})
}

// Whoever cannot see the requests cannot answer them.
func TestForgedAnswers(t *testing.T) {
	forge := map[string]func(p *Prober, ip []byte){
		"another nonce": func(p *Prober, ip []byte) {
			ip[packet.IPv4Len+packet.ICMPLen] ^= 1
			ip[packet.IPv4Len+packet.ICMPLen+2] ^= 1 // in a word of its own, so the sum is wrong too
			body := ip[packet.IPv4Len:]
			body[2], body[3] = 0, 0
			binary.BigEndian.PutUint16(body[2:], packet.Checksum(body, 0))
			echo(p, ip)
		},
		"another sequence number": func(p *Prober, ip []byte) {
			body := ip[packet.IPv4Len:]
			binary.BigEndian.PutUint16(body[6:], binary.BigEndian.Uint16(body[6:])+1000)
			body[2], body[3] = 0, 0
			binary.BigEndian.PutUint16(body[2:], packet.Checksum(body, 0))
			echo(p, ip)
		},
		"another source": func(p *Prober, ip []byte) {
			ip[19]++
			echo(p, ip)
		},
		"a wrong checksum": func(p *Prober, ip []byte) {
			ip[len(ip)-1] ^= 1
			echo(p, ip)
		},
		"another router": func(p *Prober, ip []byte) {
			packet.TurnEchoRound(ip)
			p.Answer(8, ip, nil)
		},
		"a cut reply": func(p *Prober, ip []byte) {
			packet.TurnEchoRound(ip)
			p.Answer(7, ip[:packet.IPv4Len+packet.ICMPLen], nil)
		},
		"the request": func(p *Prober, ip []byte) { p.Answer(7, ip, nil) },
	}
	for name, f := range forge {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if res, err := run(t, request(), f); err != nil || res.Received != 0 || len(res.Errors) != 0 {
					t.Fatalf("%+v, %v", res, err)
				}
			})
		})
	}
}

func TestPathMTU(t *testing.T) {
	for name, tell := range map[string]bool{"a router tells": true, "silence": false} {
		for _, mtu := range []int{84, 85, 576, 1280, 1399, 1450, 1500} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var packets atomic.Int32
					r := request()
					r.PathMTU, r.MaxMTU = true, 1500
					res, err := run(t, r, func(p *Prober, ip []byte) {
						packets.Add(1)
						switch {
						case len(ip) <= mtu:
							echo(p, ip)
						case tell:
							p.Answer(7, ip, &Failure{Reason: reason.FragmentationNeeded, Type: packet.ICMPUnreachable, Code: packet.ICMPFragmentationNeeded, MTU: mtu})
						}
					})
					if err != nil || res.PathMTU != mtu {
						t.Fatalf("path MTU %d, %v; want %d", res.PathMTU, err, mtu)
					}
					if n := int(packets.Load()); tell && n > r.Count+2 {
						t.Errorf("%d packets for what a router told", n)
					}
				})
			})
		}
	}
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		p := NewProber(func(model.RouterKey, []byte) error { return nil }, unlimited)
		r := request()
		r.Count = 100
		begin := time.Now()
		if _, err := p.Run(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 60*time.Millisecond {
			t.Errorf("went on for %v", d)
		}
		if len(p.waiting) != 0 || p.running != 0 {
			t.Error("state left behind")
		}
	})
}

// A router's rate holds over all its requests, and a host's requests are bounded.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answer: echo}
		n.p = NewProber(n.send, unlimited)
		var wg sync.WaitGroup
		var mu sync.Mutex
		total, busy := 0, 0
		begin := time.Now()
		for range maxAtOnce + 3 {
			wg.Go(func() {
				r := request()
				r.Count = 10
				res, err := n.p.Run(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrBusy) {
					busy++
				} else if err != nil {
					t.Error(err)
				}
				total += res.Received
			})
		}
		wg.Wait()
		n.wg.Wait()
		if busy != 3 || total != maxAtOnce*10 {
			t.Errorf("%d refused, %d answers", busy, total)
		}
		if least := time.Duration(maxAtOnce*10-routerBurst) * time.Second / routerRate; time.Since(begin) < least-time.Second/routerRate {
			t.Errorf("%d packets in %v, want at least %v", total, time.Since(begin), least)
		}
	})
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"no router":       func(r *Request) { r.Router = 0 },
		"own address":     func(r *Request) { r.Target = r.Source },
		"IPv6":            func(r *Request) { r.Target = netip.MustParseAddr("fd00::1") },
		"no target":       func(r *Request) { r.Target = netip.Addr{} },
		"multicast":       func(r *Request) { r.Target = netip.MustParseAddr("224.0.0.1") },
		"many":            func(r *Request) { r.Count = MaxCount + 1 },
		"negative":        func(r *Request) { r.Count = -1 },
		"small":           func(r *Request) { r.Size = MinSize - 1 },
		"large":           func(r *Request) { r.Size = MaxSize + 1 },
		"fast":            func(r *Request) { r.Interval = time.Millisecond },
		"slow":            func(r *Request) { r.Interval = time.Minute },
		"long":            func(r *Request) { r.Count, r.Interval = 100, time.Second },
		"patient":         func(r *Request) { r.Timeout = time.Hour },
		"beyond all MTUs": func(r *Request) { r.MaxMTU = 65535 },
	} {
		r := request()
		change(&r)
		if err := r.Check(); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := Request{Router: 1, Source: here, Target: there}
	if err := r.Check(); err != nil || r.Count != DefaultCount || r.Size != DefaultSize || r.Interval != DefaultInterval || r.Timeout != DefaultTimeout || r.MaxMTU != 1500 {
		t.Errorf("defaults %+v, %v", r, err)
	}
}

func FuzzAnswer(f *testing.F) {
	p := NewProber(func(model.RouterKey, []byte) error { return nil }, unlimited)
	p.waiting[1] = &waiting{router: 7, source: here, target: there, got: make(chan answer, 1)}
	h := packet.IPv4{TTL: 64, Protocol: packet.ProtoICMP, Src: there, Dst: here}
	body := packet.ICMP{Type: packet.ICMPEchoReply, Rest: packet.ProbeID<<16 | 1}.Append(nil, make([]byte, 20))
	f.Add(append(h.Append(nil, len(body)), body...), uint8(0))
	body = packet.ICMP{Type: packet.ICMPEchoRequest, Rest: packet.ProbeID<<16 | 1}.Append(nil, make([]byte, 20))
	h.Src, h.Dst = here, there
	req := append(h.Append(nil, len(body)), body...)
	f.Add(req, uint8(1))
	if e, err := packet.BuildICMPError(req, packet.ICMPError{Type: 11, Src: there}); err == nil {
		f.Add(e, uint8(0))
		f.Add(e[:57], uint8(0))
	}
	f.Fuzz(func(t *testing.T, ip []byte, why uint8) {
		before := bytes.Clone(ip)
		var failure *Failure
		if why != 0 {
			failure = &Failure{Reason: reason.Reason(why), Type: why}
		}
		p.Answer(7, ip, failure)
		if !bytes.Equal(ip, before) {
			t.Fatal("changed its input")
		}
	})
}
