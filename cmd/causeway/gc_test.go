package main

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 5 << 20: 200, 16 << 20: 150, 48 << 20: 50, 96 << 20: 25, 400 << 20: 25} {
		if got := controllerGC.percent(live, 0); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
	for _, x := range []struct {
		live, allocated uint64 // MiB
		want            int
	}{{400, 4, 25}, {400, 16, 50}, {400, 1024, 96}, {1024, 1024, 37}, {100, 32, 100}, {100, 4096, 200}} {
		if got := controllerGC.percent(x.live<<20, x.allocated<<20); got != x.want {
			t.Errorf("%d MiB live, %d MiB allocated: %d %%, want %d", x.live, x.allocated, got, x.want)
		}
	}
}

// TestAgentGC: an agent keeps little beside what is live, but for a while in which much is allocated.
func TestAgentGC(t *testing.T) {
	for _, x := range []struct {
		live, allocated uint64 // MiB
		want            int
	}{{0, 0, 200}, {3, 0, 200}, {12, 0, 50}, {40, 0, 20}, {40, 16, 50}, {40, 1024, 80}} {
		if got := agentGC.percent(x.live<<20, x.allocated<<20); got != x.want {
			t.Errorf("%d MiB live, %d MiB allocated: %d %%, want %d", x.live, x.allocated, got, x.want)
		}
	}
}

// TestRest: memory is given back once after each busy time, if that is worth it.
func TestRest(t *testing.T) {
	const mb = 1 << 20
	r := rest{gc: controllerGC}
	at := uint64(0)
	look := func(allocated, left uint64) bool {
		at += allocated
		return r.over(heap{live: 100 * mb, objects: 100*mb + left, allocated: at})
	}
	for range 5 {
		if look(100*mb, 80*mb) {
			t.Fatal("it rests while it works")
		}
	}
	for i := 1; i < restTicks; i++ {
		if look(0, 80*mb) {
			t.Fatalf("it rests after %d looks", i)
		}
	}
	if !look(mb, 80*mb) {
		t.Error("it does not rest")
	}
	for range 30 {
		if look(0, 80*mb) {
			t.Fatal("it rests twice after one busy time")
		}
	}
	look(100*mb, 80*mb)
	for range 10 {
		if look(0, 12*mb) {
			t.Fatal("it gives back what is little")
		}
	}
}
