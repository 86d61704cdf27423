package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// tables are an agent's pinned maps, by name.
type tables struct {
	byName map[string]*ebpf.Map
}

// openMaps opens every map pinned below dir.
func openMaps(dir string) (*tables, error) {
	m := &tables{map[string]*ebpf.Map{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		pinned, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return nil // a link or a program
		}
		info, err := pinned.Info()
		if err != nil {
			return err
		}
		m.byName[info.Name] = pinned
		return nil
	})
	if err != nil || len(m.byName) == 0 {
		return nil, errors.Join(fmt.Errorf("no maps below %s", dir), err, m.close())
	}
	return m, nil
}

func (m *tables) close() error {
	var errs []error
	for _, x := range m.byName {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// each calls fn with every key and value of a map.
func (m *tables) each(name string, fn func(key, value []byte) error) error {
	x := m.byName[name]
	if x == nil {
		return fmt.Errorf("no map %s", name)
	}
	var key, value []byte
	it := x.Iterate()
	for it.Next(&key, &value) {
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return it.Err()
}

func (m *tables) entries(name string) (n int, err error) {
	err = m.each(name, func(_, _ []byte) error { n++; return nil })
	return n, err
}

// memory is what the kernel charges for the maps, in bytes.
func (m *tables) memory() (sum float64, err error) {
	for name, x := range m.byName {
		info, err := x.Info()
		if err != nil {
			return 0, err
		}
		bytes, ok := info.Memlock()
		if !ok && x.Type() != ebpf.LPMTrie { // an empty trie takes none
			return 0, fmt.Errorf("the kernel does not tell the memory of %s", name)
		}
		sum += float64(bytes)
	}
	return sum, nil
}

// mapped is an address as it stands in the maps.
func mapped(a netip.Addr) []byte {
	b := a.As16()
	return b[:]
}

// networkKey finds the network that has a neighbor of this address
// (struct neighbor_key: network, address).
func (m *tables) networkKey(a netip.Addr) (net []byte, err error) {
	err = m.each("neighbors", func(key, _ []byte) error {
		if string(key[4:20]) == string(mapped(a)) {
			net = append([]byte(nil), key[:4]...)
		}
		return nil
	})
	if err == nil && net == nil {
		err = fmt.Errorf("no neighbor %s", a)
	}
	return net, err
}

// routerKey finds the router that has a route for exactly this prefix (struct
// route_key: length over router and address, router, address).
func (m *tables) routerKey(p netip.Prefix) (router []byte, err error) {
	want := append(binary.NativeEndian.AppendUint32(nil, uint32(32+96+p.Bits())), make([]byte, 4)...)
	err = m.each("routes", func(key, _ []byte) error {
		if string(key[:4]) == string(want[:4]) && string(key[8:24]) == string(mapped(p.Addr())) {
			router = append([]byte(nil), key[4:8]...)
		}
		return nil
	})
	if err == nil && router == nil {
		err = fmt.Errorf("no route %s", p)
	}
	return router, err
}

func (m *tables) has(name string, key []byte) (bool, error) {
	x := m.byName[name]
	if x == nil {
		return false, fmt.Errorf("no map %s", name)
	}
	value, err := x.LookupBytes(key)
	return value != nil, err
}

// programCost is what the kernel counted of a program.
type programCost struct {
	Where       string  `json:"where"`
	Program     string  `json:"program"`
	Runs        uint64  `json:"runs"`
	Nanoseconds float64 `json:"ns_per_run"`
}

// programs gives the programs of the links pinned below dir.
func programs(dir string) (map[string]*ebpf.Program, error) {
	out := map[string]*ebpf.Program{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return nil // a map or a program
		}
		defer l.Close()
		info, err := l.Info()
		if err != nil {
			return err
		}
		p, err := ebpf.NewProgramFromID(info.Program)
		if err != nil {
			return err
		}
		where, _ := filepath.Rel(dir, path)
		out[strings.ReplaceAll(where, string(filepath.Separator), " ")] = p
		return nil
	})
	return out, err
}

// statistics turns the kernel's counting of programs on.
func statistics() (io.Closer, error) { return ebpf.EnableStats(uint32(0)) }
