package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddTunnelIPs puts each address on the vxlan device, as a /32, unless an
// interface of the host has it already. It returns those that it could not put there.
func (h *Host) AddTunnelIPs(ips []netip.Addr) map[netip.Addr]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	failed := map[netip.Addr]error{}
	dev, err := h.nl.LinkByName(VXLANDevice)
	if err != nil {
		err = fmt.Errorf("look up device %s: %w", VXLANDevice, err)
	}
	have, aerr := h.Addrs()
	if err = errors.Join(err, aerr); err != nil {
		for _, ip := range ips {
			failed[ip] = err
		}
		return failed
	}
	at := make(map[netip.Addr]bool, len(have))
	for _, a := range have {
		at[a.Prefix.Addr()] = true
	}
	for _, ip := range ips {
		if at[ip] {
			continue
		}
		if err := h.addAddr(dev, netip.PrefixFrom(ip, ip.BitLen())); err != nil {
			failed[ip] = err
		}
	}
	return failed
}

// PruneTunnelIPs takes from the vxlan device the addresses that the agent put there
// and that are not in ips, or that another interface has meanwhile got.
func (h *Host) PruneTunnelIPs(ips []netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	have, err := h.Addrs()
	if err != nil {
		return err
	}
	keep := make(map[netip.Addr]bool, len(ips))
	for _, ip := range ips {
		keep[ip] = true
	}
	return h.pruneAddrs(func(a ledgerAddr) bool {
		if a.Interface != VXLANDevice {
			return true
		}
		for _, b := range have {
			if b.Index != a.Index && b.Prefix.Addr() == a.Prefix.Addr() {
				return false
			}
		}
		return keep[a.Prefix.Addr()]
	})
}

func nlAddr(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
}

// addAddr adds an address and notes it. One that is there already is somebody
// else's and is left alone, then and later.
func (h *Host) addAddr(dev netlink.Link, p netip.Prefix) error {
	e := ledgerAddr{Interface: dev.Attrs().Name, Index: dev.Attrs().Index, Prefix: p}
	if err := h.ledger.addAddr(e); err != nil {
		return fmt.Errorf("note address %s: %w", p, err)
	}
	na := nlAddr(p)
	// The host's main table is not for the tenants' underlay: connected routes
	// go to the tables of the VTEP routers, which this package fills itself.
	na.Flags = unix.IFA_F_NOPREFIXROUTE
	err := h.nl.AddrAdd(dev, na)
	if errors.Is(err, unix.EEXIST) {
		return h.ledger.dropAddr(e)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("add address %s to %s: %w", p, e.Interface, err), h.ledger.dropAddr(e))
	}
	h.log.Info("added address", "address", p, "interface", e.Interface)
	return nil
}

// pruneAddrs removes the addresses of the ledger that keep refuses.
func (h *Host) pruneAddrs(keep func(ledgerAddr) bool) error {
	var errs []error
	for _, a := range append([]ledgerAddr(nil), h.ledger.Addresses...) {
		if keep(a) {
			continue
		}
		if err := h.delAddr(a); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := h.ledger.dropAddr(a); err != nil {
			errs = append(errs, fmt.Errorf("strike out address %s: %w", a.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

func (h *Host) delAddr(a ledgerAddr) error {
	dev, err := h.nl.LinkByIndex(a.Index)
	if isNotFound(err) {
		return nil // and the address with it
	}
	if err != nil {
		return fmt.Errorf("look up interface %s: %w", a.Interface, err)
	}
	err = h.nl.AddrDel(dev, nlAddr(a.Prefix))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove address %s from %s: %w", a.Prefix, a.Interface, err)
	}
	h.log.Info("removed address", "address", a.Prefix, "interface", a.Interface)
	return nil
}
