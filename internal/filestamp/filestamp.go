// Package filestamp tells whether a file is still the one that was read.
package filestamp

import (
	"os"
	"time"
)

// Stamp is one state of a file. The zero Stamp is that of a file that is not there.
type Stamp struct {
	mod  time.Time
	size int64
	file os.FileInfo
}

// Of is the present state of the file at path.
func Of(path string) Stamp {
	st, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return Stamp{st.ModTime(), st.Size(), st}
}

// Same tells whether s and o are one state of one file.
func (s Stamp) Same(o Stamp) bool {
	if s.file == nil || o.file == nil {
		return s.file == nil && o.file == nil
	}
	return s.mod.Equal(o.mod) && s.size == o.size && os.SameFile(s.file, o.file)
}
