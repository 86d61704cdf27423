package etcdstore

import (
	"fmt"
	"sync/atomic"
	"testing"
)

func BenchmarkUpdate(b *testing.B) {
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := openAt(b, Options{DataDir: b.TempDir()})
			var n atomic.Int64
			b.SetParallelism(clients) // times GOMAXPROCS
			b.ResetTimer()
			work := make(chan struct{}, clients)
			b.RunParallel(func(pb *testing.PB) {
				work <- struct{}{} // so that no more than clients run
				defer func() { <-work }()
				for pb.Next() {
					id := fmt.Sprint(n.Add(1))
					if _, err := s.Update(b.Context(), putNetwork(id, "name "+id)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkView(b *testing.B) {
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := openAt(b, Options{DataDir: b.TempDir()})
			put(b, s, "a", "1")
			b.SetParallelism(clients)
			b.ResetTimer()
			work := make(chan struct{}, clients)
			b.RunParallel(func(pb *testing.PB) {
				work <- struct{}{}
				defer func() { <-work }()
				for pb.Next() {
					if _, err := s.View(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkUpdate10k is what a transaction costs with 10,000 resources in the
// mirror.
func BenchmarkUpdate10k(b *testing.B) {
	s := openAt(b, Options{DataDir: b.TempDir()})
	for i := range 10000 {
		put(b, s, fmt.Sprint(i), fmt.Sprint("name ", i))
	}
	b.ResetTimer()
	for i := range b.N {
		put(b, s, "1", fmt.Sprint("again ", i))
	}
}
