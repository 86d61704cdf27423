package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The kinds of attachments, as they stand in the names of pins.
const (
	kindWorkload = "workload"
	kindUnderlay = "underlay"
	kindVXLAN    = "vxlan"
	kindSlow     = "slow"
)

var programOf = map[string]string{
	kindWorkload: bpfProgFromWorkload,
	kindUnderlay: bpfProgFromUnderlay,
	kindVXLAN:    bpfProgFromVxlan,
	kindSlow:     bpfProgFromSlow,
}

// linkPin is a pinned attachment.
type linkPin struct {
	kind    string
	ifindex int
	path    string
}

func (d *Dataplane) pinOf(kind string, ifindex int) linkPin {
	return linkPin{kind, ifindex, filepath.Join(d.dir, linksDir, kind+"-"+strconv.Itoa(ifindex))}
}

// linkPins lists what is attached.
func (d *Dataplane) linkPins() ([]linkPin, error) {
	dir := filepath.Join(d.dir, linksDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	var pins []linkPin
	for _, e := range entries {
		kind, index, _ := strings.Cut(e.Name(), "-")
		n, err := strconv.Atoi(index)
		if err != nil || programOf[kind] == "" {
			continue
		}
		pins = append(pins, linkPin{kind, n, filepath.Join(dir, e.Name())})
	}
	return pins, nil
}

// open returns the pinned link, nil where it has no interface any more: its
// interface was deleted, or its index is another's now.
func (p linkPin) open() (link.Link, error) {
	l, err := link.LoadPinnedLink(p.path, nil)
	if err != nil {
		return nil, fmt.Errorf("open pinned link %s: %w", p.path, err)
	}
	info, err := l.Info()
	if err == nil {
		if tcx := info.TCX(); tcx != nil && tcx.Ifindex == uint32(p.ifindex) {
			return l, nil
		}
	}
	return nil, errors.Join(err, l.Close())
}

func (d *Dataplane) unpin(p linkPin) error {
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}

// cleanLinks removes pins of interfaces that have vanished.
func (d *Dataplane) cleanLinks() error {
	return d.eachLink(func(linkPin, link.Link) error { return nil })
}

// updateLinks replaces the programs of all links, each atomically: a packet sees the
// old program or the new one.
//
// The mark that from_vxlan wants is set by from_underlay: what an older one has let pass
// has to have arrived before that is asked for.
func (d *Dataplane) updateLinks() error {
	first := 0
	err := d.eachLink(func(p linkPin, l link.Link) error {
		if p.kind != kindUnderlay {
			return nil
		}
		first++
		return d.updateLink(p, l)
	})
	if err != nil {
		return err
	}
	if first > 0 {
		gracePeriod()
	}
	err = d.eachLink(func(p linkPin, l link.Link) error {
		if p.kind == kindUnderlay {
			return nil
		}
		return d.updateLink(p, l)
	})
	return errors.Join(err, d.updateLocalICMP())
}

func (d *Dataplane) updateLink(p linkPin, l link.Link) error {
	err := l.Update(d.programs[programOf[p.kind]])
	// ENOLINK: the interface has vanished since the link was opened.
	if err != nil && !errors.Is(err, unix.ENOLINK) {
		return fmt.Errorf("replace the program on %s: %w", interfaceName(p.ifindex), err)
	}
	return nil
}

// eachLink calls f with each link, and removes the pins of those that have no
// interface.
func (d *Dataplane) eachLink(f func(linkPin, link.Link) error) error {
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	pins, err := d.linkPins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		l, err := p.open()
		if err != nil {
			return err
		}
		if l == nil {
			if err := d.unpin(p); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(f(p, l), l.Close()); err != nil {
			return err
		}
	}
	return nil
}

func interfaceName(ifindex int) string {
	if i, err := net.InterfaceByIndex(ifindex); err == nil {
		return "interface " + i.Name
	}
	return "interface " + strconv.Itoa(ifindex)
}

// attach puts a program on an interface's ingress, before others' programs. What is
// attached already stays as it is. The kernel has the program run before the call
// ends: it waits for a grace period of RCU, some 10 ms, during which rows can be
// written.
func (d *Dataplane) attach(kind string, ifindex int) error {
	d.mu.Lock()
	program := d.programs[programOf[kind]]
	if program == nil {
		d.mu.Unlock()
		return errors.New("the dataplane is closed")
	}
	program, err := program.Clone()
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("attach tcx to %s: %w", interfaceName(ifindex), err)
	}
	defer func() { _ = program.Close() }()
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	p := d.pinOf(kind, ifindex)
	if _, err := os.Stat(p.path); err == nil {
		l, err := p.open()
		if err != nil {
			return err
		}
		if l != nil {
			return l.Close()
		}
		if err := d.unpin(p); err != nil {
			return err
		}
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: ifindex,
		Program:   program,
		Attach:    ebpf.AttachTCXIngress,
		Anchor:    link.Head(),
	})
	if errors.Is(err, link.ErrNotSupported) {
		return fmt.Errorf("attach tcx to %s (the kernel lacks TCX links): %w", interfaceName(ifindex), err)
	}
	if err != nil {
		return fmt.Errorf("attach tcx to %s: %w", interfaceName(ifindex), err)
	}
	if err := l.Pin(p.path); err != nil {
		return errors.Join(fmt.Errorf("pin the link of %s: %w", interfaceName(ifindex), err), l.Close())
	}
	return l.Close()
}

// detach takes a program off an interface. One that is not there is no error.
func (d *Dataplane) detach(kind string, ifindex int) error {
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	return d.unpin(d.pinOf(kind, ifindex))
}

// AttachWorkload puts from_workload on a workload's host-side interface.
func (d *Dataplane) AttachWorkload(ifindex int) error { return d.attach(kindWorkload, ifindex) }

// DetachWorkload takes from_workload off. The interface is then open to the host's
// stack.
func (d *Dataplane) DetachWorkload(ifindex int) error { return d.detach(kindWorkload, ifindex) }

// AttachUnderlay puts from_underlay on an interface that carries tunnels.
func (d *Dataplane) AttachUnderlay(ifindex int) error { return d.attach(kindUnderlay, ifindex) }

// DetachUnderlay takes from_underlay off.
func (d *Dataplane) DetachUnderlay(ifindex int) error { return d.detach(kindUnderlay, ifindex) }

// AttachVXLAN puts from_vxlan on the collect-metadata vxlan device.
func (d *Dataplane) AttachVXLAN(ifindex int) error { return d.attach(kindVXLAN, ifindex) }

// AttachSlow puts from_slow on the slow path's tap device.
func (d *Dataplane) AttachSlow(ifindex int) error { return d.attach(kindSlow, ifindex) }
