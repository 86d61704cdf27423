package controller

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestArrive: agents are taken in some at a time, in the order in which they came; who is tired of waiting leaves the line,
// and a turn ends once.
func TestArrive(t *testing.T) {
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	var ends []func()
	for _, name := range hostNames(cap(h.arrivals)) {
		_, end, err := h.arrive(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	tired, leave := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	go func() {
		_, _, err := h.arrive(tired, "tired")
		refused <- err
	}()
	in := make(chan func(), 1)
	go func() {
		_, end, err := h.arrive(t.Context(), "patient")
		if err != nil {
			t.Error(err)
		}
		in <- end
	}()
	leave()
	if err := testutil.Receive(t, "a refusal", refused); err == nil {
		t.Error("one that had gone was taken in")
	}
	select {
	case <-in:
		t.Fatal("one more than there is room for was taken in")
	default:
	}
	ends[0]()
	ends[0]() // gives no second turn
	end := testutil.Receive(t, "a turn", in)
	if n := len(h.arrivals); n != cap(h.arrivals) {
		t.Errorf("%d turns of %d are taken", n, cap(h.arrivals))
	}
	end()
	for _, end := range ends[1:] {
		end()
	}
	if n := len(h.arrivals); n != 0 {
		t.Errorf("%d turns are left", n)
	}
}

// TestArriveOnce: a host has one turn at a time, however many streams it opens; a newer one ends the older, be that in the
// line or in its turn.
func TestArriveOnce(t *testing.T) {
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	turn, end, err := h.arrive(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	const more = 16
	in, refused := make(chan func(), more), make(chan error, more)
	for range more {
		go func() {
			if _, end, err := h.arrive(t.Context(), "h"); err != nil {
				refused <- err
			} else {
				in <- end
			}
		}()
	}
	testutil.Receive(t, "the end of the older one", turn.Done())
	if err := context.Cause(turn); !errors.Is(err, errReplaced) {
		t.Errorf("the older one ends for %v", err)
	}
	if n := len(h.arrivals); n != 1 {
		t.Errorf("one host has %d turns", n)
	}
	end()
	for range more - 1 { // each of them, or all but one at once
		select {
		case err := <-refused:
			if !errors.Is(err, errReplaced) {
				t.Errorf("refused: %v", err)
			}
		case end := <-in:
			if n := len(h.arrivals); n != 1 {
				t.Errorf("one host has %d turns", n)
			}
			end()
		case <-t.Context().Done():
			t.Fatal("they do not end")
		}
	}
	select {
	case end := <-in:
		end()
	case <-refused:
	}
	if len(h.arrivals) != 0 || len(h.arriving.of) != 0 {
		t.Errorf("%d turns and %d hosts are left", len(h.arrivals), len(h.arriving.of))
	}
}

// TestArriveWithoutStore: who waits for its turn or has it when the store is away is sent to another controller.
func TestArriveWithoutStore(t *testing.T) {
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	turn, end, err := h.arrive(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	h.noteProof(time.Now(), errors.New("away")) // last is zero: it has been away for long
	testutil.Receive(t, "the end of the turn", turn.Done())
	if err := context.Cause(turn); !errors.Is(err, errCutOff) {
		t.Errorf("it ends for %v", err)
	}
	end()
	if _, err := h.takeIn(t.Context(), "h", hostsync.Agent{}); !errors.Is(err, errCutOff) {
		t.Errorf("taken in: %v", err)
	}
}
