package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/test/stats"
)

// diskWrites is how many writes are timed.
const diskWrites = 300

// fdatasync is the median time in milliseconds in which the disk below dir takes
// one small write appended to a file: what each acknowledged change costs at least.
func fdatasync(dir string) (ms float64, err error) {
	path := filepath.Join(dir, "disk")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	block := make([]byte, 512)
	var all []float64
	for range diskWrites {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(start))/float64(time.Millisecond))
	}
	return stats.Median(all), nil
}
