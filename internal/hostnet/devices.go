package hostnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Outer source ports (RFC 7348 §5: the dynamic range); the programs use the same.
	vxlanSrcPortLow, vxlanSrcPortHigh = 49152, 65535
	vxlanMTU                          = 65535 // the most the kernel takes
	slowMTU                           = 65521 // 65535 − 14
	// slowQueue bounds the packets that wait for the slow path (txqueuelen of the tap).
	slowQueue = 512
)

// EnsureVXLAN makes the collect-metadata vxlan device, or puts right what differs
// from what it must be, and returns its index. IPv4 forwarding is switched on for this
// device alone: bpf_fib_lookup asks for the switch of the device it is given,
// and the host's own stays as it is.
func (h *Host) EnsureVXLAN() (index int, err error) {
	return h.ensureVXLAN(VXLANDevice, VXLANPort, true)
}

// PrepareVXLAN is EnsureVXLAN but leaves a device down that is down: without its
// program it would hand to the host's stack what anybody sends in a tunnel.
func (h *Host) PrepareVXLAN() (index int, err error) {
	return h.ensureVXLAN(VXLANDevice, VXLANPort, false)
}

// EnsureFabric is EnsureVXLAN for the device of the fabric, on the fabric's UDP port. One that has
// another port is made anew.
func (h *Host) EnsureFabric(port uint16) (index int, err error) {
	return h.ensureVXLAN(FabricDevice, int(port), true)
}

// PrepareFabric is PrepareVXLAN for the device of the fabric.
func (h *Host) PrepareFabric(port uint16) (index int, err error) {
	return h.ensureVXLAN(FabricDevice, int(port), false)
}

func (h *Host) ensureVXLAN(name string, port int, up bool) (index int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	want := &netlink.Vxlan{
		LinkAttrs: netlink.NewLinkAttrs(),
		FlowBased: true, Port: port,
		PortLow: vxlanSrcPortLow, PortHigh: vxlanSrcPortHigh,
		UDPCSum: true,
	}
	want.Name, want.MTU = name, vxlanMTU
	fits := func(l netlink.Link) bool {
		v, ok := l.(*netlink.Vxlan)
		return ok && v.FlowBased && v.Port == port && !v.Learning &&
			v.PortLow == vxlanSrcPortLow && v.PortHigh == vxlanSrcPortHigh
	}
	l, err := h.ensureDevice(name, fits, func() error { return h.nl.LinkAdd(want) })
	if err != nil {
		return 0, h.explainPortTaken(name, port, err)
	}
	ready := func() error { return h.upAndMTU(l, vxlanMTU) }
	if !up && l.Attrs().RawFlags&iffUp == 0 {
		ready = func() error { return udpPortFree(port) }
	}
	if err := errors.Join(setSysctl("ipv4", name, "forwarding", "1"), ready()); err != nil {
		return 0, h.explainPortTaken(name, port, err)
	}
	return l.Attrs().Index, nil
}

// RemoveFabric takes the device of the fabric away, if there is one and it is the agent's.
func (h *Host) RemoveFabric() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.removeDevice(FabricDevice)
}

// removeDevice takes away a device that is the agent's; one that is not there, or is not, is left.
func (h *Host) removeDevice(name string) error {
	l, err := h.nl.LinkByName(name)
	switch {
	case isNotFound(err):
		return h.ledger.dropDevice(name)
	case err != nil:
		return fmt.Errorf("look up device %s: %w", name, err)
	case l.Attrs().Alias != deviceAlias && !slices.Contains(h.ledger.Devices, name):
		return nil
	}
	if err := h.nl.LinkDel(l); err != nil && !isNotFound(err) {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	if err := h.ledger.dropDevice(name); err != nil {
		return fmt.Errorf("strike out device %s: %w", name, err)
	}
	return nil
}

// EnsureSlow makes the slow path's tap device, or puts it right, and returns
// its index. It is persistent: it stays while the agent is away.
func (h *Host) EnsureSlow() (index int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fits := func(l netlink.Link) bool {
		t, ok := l.(*netlink.Tuntap)
		return ok && t.Mode == netlink.TUNTAP_MODE_TAP && !t.NonPersist
	}
	l, err := h.ensureDevice(SlowDevice, fits, makeTap)
	if err != nil {
		return 0, err
	}
	if l.Attrs().TxQLen != slowQueue {
		if err := h.nl.LinkSetTxQLen(l, slowQueue); err != nil {
			return 0, fmt.Errorf("set queue of %s: %w", SlowDevice, err)
		}
	}
	if err := h.upAndMTU(l, slowMTU); err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// ensureDevice returns the device of that name, made if need be, with IPv6 off
// before it first comes up. A device of ours that does not fit is replaced;
// one that is not ours is an error.
func (h *Host) ensureDevice(name string, fits func(netlink.Link) bool, add func() error) (netlink.Link, error) {
	l, err := h.nl.LinkByName(name)
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("look up device %s: %w", name, err)
	}
	if err == nil {
		if l.Attrs().Alias != deviceAlias && !slices.Contains(h.ledger.Devices, name) {
			return nil, fmt.Errorf("device %s exists and is not the agent's: rename or remove it", name)
		}
		if !fits(l) {
			h.log.Warn("device is not as it must be, making it anew", "device", name)
			if err := h.nl.LinkDel(l); err != nil {
				return nil, fmt.Errorf("remove device %s: %w", name, err)
			}
			l = nil
		}
	} else {
		l = nil
	}
	if err := h.ledger.addDevice(name); err != nil {
		return nil, fmt.Errorf("note device %s: %w", name, err)
	}
	if l == nil {
		if err := add(); err != nil {
			return nil, errors.Join(fmt.Errorf("make device %s: %w", name, err), h.ledger.dropDevice(name))
		}
		if l, err = h.nl.LinkByName(name); err != nil {
			return nil, fmt.Errorf("look up device %s: %w", name, err)
		}
	}
	if l.Attrs().Alias != deviceAlias {
		if err := h.nl.LinkSetAlias(l, deviceAlias); err != nil {
			return nil, fmt.Errorf("mark device %s: %w", name, err)
		}
	}
	if err := quietIPv6(name); err != nil {
		return nil, err
	}
	return l, nil
}

func (h *Host) upAndMTU(l netlink.Link, mtu int) error {
	a := l.Attrs()
	if a.MTU != mtu {
		if err := h.nl.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU of %s: %w", a.Name, err)
		}
	}
	if a.RawFlags&iffUp == 0 {
		if err := h.nl.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", a.Name, err)
		}
	}
	return nil
}

// explainPortTaken names who has a device's UDP port where that is what err says.
func (h *Host) explainPortTaken(device string, port int, err error) error {
	// EEXIST: another collect-metadata device with this port. EADDRINUSE: a
	// device of another kind, or a program's socket, comes to light when the
	// device is set up.
	if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	ls, lerr := retryDump(h.nl.LinkList)
	if lerr != nil {
		return err
	}
	for _, l := range ls {
		if v, ok := l.(*netlink.Vxlan); ok && v.Name != device && v.Port == port {
			return fmt.Errorf("UDP port %d is taken by the vxlan device %s of this host: %w", port, v.Name, err)
		}
	}
	if who := udpPortOwner(port); who != "" {
		return fmt.Errorf("UDP port %d is taken by %s: %w", port, who, err)
	}
	return fmt.Errorf("UDP port %d is taken: %w", port, err)
}

func udpPortFree(port int) error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	return c.Close()
}

// udpPortOwner names the process that has a UDP port of this namespace open, ""
// if none is found (the kernel's own sockets belong to nobody).
func udpPortOwner(port int) string {
	inodes := map[string]bool{}
	for _, f := range []string{"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"} {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			fs := strings.Fields(line)
			if len(fs) > 9 && strings.HasSuffix(fs[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+fs[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if t, err := os.Readlink(fd); err == nil && inodes[t] {
			pid := strings.Split(fd, "/")[2]
			comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(comm)))
		}
	}
	return ""
}

// makeTap makes the persistent tap device; nobody is attached to it then.
func makeTap() error {
	fd, err := attachTap()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
}

// tapPatience is how long a descriptor may linger that is closed already: a process
// that is being started has copies of all until its program is loaded.
const tapPatience = time.Second

func attachTap() (fd int, err error) {
	for deadline := time.Now().Add(tapPatience); ; <-time.After(10 * time.Millisecond) {
		fd, err = tryAttachTap()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fd, err
		}
	}
}

func tryAttachTap() (fd int, err error) {
	// Without O_NONBLOCK a file made of it would not be polled, and Close would
	// not wake a reader.
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(SlowDevice)
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EBUSY) {
			return 0, fmt.Errorf("attach to %s: another process has it: %w", SlowDevice, err)
		}
		return 0, fmt.Errorf("attach to %s: %w", SlowDevice, err)
	}
	return fd, nil
}

// OpenTap attaches to the slow path's tap device. Reads and writes of the file are
// whole frames; Close ends a Read that waits.
func (h *Host) OpenTap() (*os.File, error) {
	fd, err := attachTap()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), SlowDevice), nil
}
