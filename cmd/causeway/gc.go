package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collector is how the garbage collector's target follows from what is live. A small site's state is a
// few megabytes, and collecting each time that half as much has been allocated would
// take a tenth of the time of its writes. Of a large one's, memory is worth more.
type collector struct {
	room  uint64 // bytes allocated between collections, where the bounds let it be
	least uint64 // percent
	// While much is allocated, as when all agents of a large site come at once, collecting takes more than the work:
	// then what is live is marked as often as marked bytes a second come to, or busyRoom bytes have been allocated.
	marked, busyRoom uint64
	restWorth        uint64 // bytes of garbage that are given back when there is nothing to do
}

// An agent shares its host with the workloads, and has little to do: memory is worth more than in a controller.
var (
	controllerGC = collector{room: 24 << 20, least: 25, marked: 32 << 20, busyRoom: 384 << 20, restWorth: 16 << 20}
	agentGC      = collector{room: 6 << 20, least: 20, marked: 32 << 20, busyRoom: 32 << 20, restWorth: 4 << 20}
)

const (
	gcMost  = 200 // percent
	gcPause = time.Second
)

// percent is the target where so many bytes are live, and so many were allocated in the last second.
func (c collector) percent(live, allocated uint64) int {
	live = max(live, 1)
	busy := min(allocated*100/c.marked, c.busyRoom*100/live)
	return int(min(max(c.room*100/live, busy, c.least), gcMost))
}

// tune keeps the target right until ctx ends, and gives memory back when there is
// nothing to do.
func (c collector) tune(ctx context.Context) {
	tick := time.NewTicker(gcPause)
	defer tick.Stop()
	r := rest{gc: c}
	for set, before := 0, uint64(0); ; {
		h := readHeap()
		// A change stops all goroutines for a moment: not for little.
		if want := c.percent(h.live, h.allocated-before); want*10 < set*9 || want*10 > set*11 {
			debug.SetGCPercent(want)
			set = want
		}
		before = h.allocated
		if r.over(h) {
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// heap is what the runtime says of it, in bytes.
type heap struct {
	live, objects, free uint64 // live of the last collection; objects with what is not collected yet; free and not given back
	allocated           uint64 // since the start
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(s)
	return heap{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64()}
}

// rest notices when what a busy time has left behind is worth a collection. After it the
// runtime gives memory back slowly, and the garbage of the last requests of a large site
// stays for as long as little comes after them: tens of megabytes.
type rest struct {
	gc        collector
	allocated uint64 // at the last look
	quiet     int    // looks since which little has been allocated
	worked    uint64 // allocated since the last collection for this
}

const (
	restTicks = 3       // looks of little work
	restWork  = 2 << 20 // bytes that are little, for a look
)

// over is asked at each look.
func (r *rest) over(h heap) bool {
	done := h.allocated - r.allocated
	r.allocated, r.worked = h.allocated, r.worked+done
	if done > restWork {
		r.quiet = 0
		return false
	}
	r.quiet++
	left := h.free + h.objects - min(h.objects, h.live)
	if r.quiet < restTicks || r.worked < r.gc.room || left < max(r.gc.restWorth, h.live/10) {
		return false
	}
	r.worked = 0
	return true
}

// collect tunes the collector until stop is called, unless GOGC says how it is to be.
func (c collector) collect(ctx context.Context) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	return inBackground(ctx, c.tune)
}

// inBackground runs fn; what it returns ends fn and waits for it.
func inBackground(ctx context.Context, fn func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
