package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/test/stats"
)

// sequence does one thing after the other for a while and returns the median of
// what each took, in milliseconds. do reports what it timed, so that preparations
// stay out of it; it returns false when there is nothing left to do. It is done at
// least so often, however long that takes.
func sequence(ctx context.Context, length time.Duration, least int, do func(context.Context) (took time.Duration, more bool, err error)) (float64, error) {
	var ms []float64
	for start := time.Now(); time.Since(start) < length || len(ms) < least; {
		took, more, err := do(ctx)
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		ms = append(ms, float64(took)/float64(time.Millisecond))
	}
	return stats.Median(ms), nil
}

// crowd lets the clients do a thing at once for a while, each at least once, and returns how
// many they did a second.
func crowd(ctx context.Context, length time.Duration, do func(ctx context.Context, client int) error) (float64, error) {
	var done atomic.Int64
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		group.Go(func() error {
			for {
				if err := do(ctx, i); err != nil {
					return err
				}
				done.Add(1)
				if time.Since(start) >= length {
					return nil
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return float64(done.Load()) / time.Since(start).Seconds(), nil
}

// timed is how long a call takes until its whole answer is here.
func timed(ctx context.Context, fn func(context.Context) error) (time.Duration, error) {
	start := time.Now()
	err := fn(ctx)
	return time.Since(start), err
}
