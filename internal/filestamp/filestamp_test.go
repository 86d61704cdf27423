package filestamp

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(path, s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if absent := Of(path); !absent.Same(Of(path)) || !absent.Same(Stamp{}) {
		t.Error("a file that is not there is not the same as itself")
	}
	write(path, "one")
	first := Of(path)
	if !first.Same(Of(path)) || first.Same(Stamp{}) {
		t.Error("an untouched file is not the same as itself, or is as if not there")
	}
	at := time.Now().Add(-time.Hour)
	for name, change := range map[string]func(){
		"another size": func() { write(path, "three") },
		"another time": func() {
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		},
		"another file of the same size and time": func() {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(path+".new", "other"[:st.Size()])
			if err := os.Chtimes(path+".new", st.ModTime(), st.ModTime()); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		before := Of(path)
		change()
		if before.Same(Of(path)) {
			t.Errorf("%s is taken for the same", name)
		}
		write(path, "one")
	}
}
