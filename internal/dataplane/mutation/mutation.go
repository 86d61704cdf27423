// Package mutation compiles the eBPF programs with one check taken out, for tests that must see it
// missing.
package mutation

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Compile builds in dir the programs of src with one text of a file replaced, which must be there exactly once.
func Compile(dir, src, file, from, to string) ([]byte, error) {
	if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
		return nil, err
	}
	if err := Once(dir, file, from); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(from), []byte(to), 1), 0o644); err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "mutant.o")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// As bpf2go does, see gen.go of package dataplane; warnings are to be expected.
	cmd := exec.CommandContext(ctx, "clang-19", "-O2", "-g", "-mcpu=v3", "-fno-strict-aliasing", "-target", "bpfel",
		"-I/usr/include/x86_64-linux-gnu", "-I/usr/include/aarch64-linux-gnu", "-c", "causeway.c", "-o", out)
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile: %w\n%s", err, b)
	}
	return os.ReadFile(out)
}

// Once says what is wrong if a file of src does not have the text exactly once.
func Once(src, file, text string) error {
	b, err := os.ReadFile(filepath.Join(src, file))
	if err != nil {
		return err
	}
	if n := bytes.Count(b, []byte(text)); n != 1 {
		return fmt.Errorf("%s has %q %d times, want once: the mutant must follow the code", file, text, n)
	}
	return nil
}
