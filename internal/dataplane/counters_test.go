package dataplane

import "testing"

// An index that rows named is not given to another until it has rested, and is not lost either.
func TestCountersRest(t *testing.T) {
	c := newCounterIndex(4)
	first, second := c.port(1), c.port(2)
	c.freePort(1)
	if !c.used[first] {
		t.Errorf("index %d can be given out before it has rested", first)
	}
	third := c.port(3)
	if third == 0 || third == first || third == second {
		t.Fatalf("while %d rests and %d is used, the next index is %d", first, second, third)
	}
	if fourth := c.port(4); fourth != first || len(c.resting) != 0 {
		t.Errorf("with none but %d left the next index is %d, and %d rest", first, fourth, len(c.resting))
	}
}
