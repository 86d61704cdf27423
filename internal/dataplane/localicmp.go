package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// localICMPPin is the pin of local_icmp's link in linksDir. The kernel cannot replace the
	// program of such a link: another is attached, and takes over the name.
	localICMPPin = "netfilter"
	// localICMPPriority is behind what firewalls use (NF_IP_PRI_SECURITY is 50): what
	// they drop is not looked at. The kernel wants each eBPF program to have a
	// priority of its own.
	localICMPPriority = 100
	localICMPTries    = 16
)

// AttachLocalICMP keeps ICMP errors and redirects about the ways to VTEPs from the host's
// stack, in this process's network namespace, from the call on or, where the maps are new and
// others are in use still, from the first Sync on.
func (d *Dataplane) AttachLocalICMP() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.programs == nil {
		return errors.New("the dataplane is closed")
	}
	if d.localICMP {
		return nil
	}
	if _, err := os.Stat(d.localICMPPin()); err == nil && d.pending != nil {
		return nil // the program that runs has the rows; updateLocalICMP comes with the Sync
	}
	return d.attachLocalICMP()
}

// updateLocalICMP puts the new program in the place of the one that runs, if one does.
func (d *Dataplane) updateLocalICMP() error {
	if _, err := os.Stat(d.localICMPPin()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.attachLocalICMP()
}

func (d *Dataplane) localICMPPin() string { return filepath.Join(d.dir, linksDir, localICMPPin) }

// attachLocalICMP lets the new program run before the old one ends.
func (d *Dataplane) attachLocalICMP() error {
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	pin := d.localICMPPin()
	fresh := pin + newSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	l, err := attachNetfilter(d.programs[bpfProgLocalIcmp])
	if err != nil {
		return err
	}
	// The pin holds the link from here on.
	err = l.Pin(fresh)
	if err == nil {
		err = os.Rename(fresh, pin)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pin the netfilter link: %w", err), l.Close())
	}
	d.localICMP = true
	return l.Close()
}

func attachNetfilter(p *ebpf.Program) (l link.Link, err error) {
	for i := range int32(localICMPTries) {
		l, err = link.AttachNetfilter(link.NetfilterOptions{
			Program:        p,
			ProtocolFamily: link.NetfilterProtoIPv4,
			Hook:           link.NetfilterInetLocalIn,
			Priority:       localICMPPriority + i,
		})
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attach to netfilter's LOCAL_IN (the kernel needs CONFIG_NETFILTER_BPF_LINK): %w", err)
	}
	return l, nil
}
