package main

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 5 << 20: 200, 16 << 20: 150, 48 << 20: 50, 96 << 20: 25, 400 << 20: 25} {
		if got := gcPercent(live, 0); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
	for _, x := range []struct {
		live, allocated uint64 // MiB
		want            int
	}{{400, 4, 25}, {400, 16, 50}, {400, 1024, 96}, {1024, 1024, 37}, {100, 32, 100}, {100, 4096, 200}} {
		if got := gcPercent(x.live<<20, x.allocated<<20); got != x.want {
			t.Errorf("%d MiB live, %d MiB allocated: %d %%, want %d", x.live, x.allocated, got, x.want)
		}
	}
}

// TestRest: memory is given back once after each busy time, if that is worth it.
func TestRest(t *testing.T) {
	const mb = 1 << 20
	var r rest
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
