package dataplane

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// layoutVersion stands for what rows mean. Raise it when a program reads a row
// otherwise than its predecessor did, though the row's size is the same.
const layoutVersion = 3

const (
	mapsPrefix = "maps-"
	newSuffix  = "-new" // a bpf filesystem reserves dots in names
	oldSuffix  = "-old"
	linksDir   = "links"
)

// layoutOf names everything that must be equal for maps to be used again.
func layoutOf(spec *ebpf.CollectionSpec, version int) string {
	h := sha256.New()
	fmt.Fprintln(h, version)
	for _, name := range mapNames(spec) {
		m := spec.Maps[name]
		fmt.Fprintln(h, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// mapNames are the maps that are pinned: all but those of variables, of packets in hand and
// of flows, which belong to one load of the programs.
func mapNames(spec *ebpf.CollectionSpec) []string {
	var names []string
	for name := range spec.Maps {
		if !strings.HasPrefix(name, ".") && name != bpfMapPackets && name != bpfMapFlows && name != bpfMapFlowTags {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// pinDir makes dir, on a bpf filesystem. Where dir is under /sys/fs/bpf and nothing
// is mounted there, as in a mount namespace of one's own, it is mounted there;
// elsewhere on dir itself.
func pinDir(dir string) error {
	at := dir
	const standard = "/sys/fs/bpf"
	if dir == standard || strings.HasPrefix(dir, standard+"/") {
		at = standard
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil {
		return fmt.Errorf("look at pin directory %s: %w", at, err)
	}
	if s.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", at, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount a bpf filesystem on %s: %w", at, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, linksDir), 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	return nil
}

// mapDirs lists the map directories: those in use (there is one at most, unless a
// stranger made more) and those left half done.
func mapDirs(dir string) (used, leftover []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read pin directory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case !strings.HasPrefix(name, mapsPrefix):
		case strings.HasSuffix(name, newSuffix), strings.HasSuffix(name, oldSuffix):
			leftover = append(leftover, filepath.Join(dir, name))
		default:
			used = append(used, filepath.Join(dir, name))
		}
	}
	return used, leftover, nil
}

// removeDir takes away a directory of pins. What programs still use lives on.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove pin: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin directory: %w", err)
	}
	return nil
}

// createMaps makes and pins all maps in dir.
func createMaps(spec *ebpf.CollectionSpec, dir string) (map[string]*ebpf.Map, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	maps := map[string]*ebpf.Map{}
	for _, name := range mapNames(spec) {
		m, err := ebpf.NewMap(spec.Maps[name])
		if err == nil {
			maps[name] = m
			err = m.Pin(filepath.Join(dir, name))
		}
		if err != nil {
			closeMaps(maps)
			return nil, fmt.Errorf("make map %s: %w", name, err)
		}
	}
	return maps, nil
}

// openMaps opens the pinned maps of dir.
func openMaps(spec *ebpf.CollectionSpec, dir string) (map[string]*ebpf.Map, error) {
	maps := map[string]*ebpf.Map{}
	for _, name := range mapNames(spec) {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err == nil {
			maps[name] = m
			err = spec.Maps[name].Compatible(m)
		}
		if err != nil {
			closeMaps(maps)
			return nil, fmt.Errorf("open pinned map %s: %w", name, err)
		}
	}
	return maps, nil
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		// A file descriptor that cannot be closed is of no use to report.
		_ = m.Close()
	}
}
