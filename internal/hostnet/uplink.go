package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// TableMain is the kernel's main routing table.
	TableMain = unix.RT_TABLE_MAIN

	// The routing tables of VTEP routers, and the preferences of the rules that lead to
	// them, are firstTable + 0, 1, 2 …; an index stays with its gateway device.
	firstTable = 10000
	maxTables  = 4096

	// routeProtocol marks the agent's routes (rtm_protocol; the kernel gives
	// no meaning to numbers from RTPROT_STATIC up, and daemons use those below 200).
	routeProtocol = 213
)

// Uplink is an interface that a VTEP router has as its port.
type Uplink struct {
	Interface string
	Addr      netip.Prefix // its address, with the length of its subnet
}

// Route is a route of a VTEP router.
type Route struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
}

// VTEPRouter is what the kernel must do for a gateway device whose router is
// the edge router as well.
type VTEPRouter struct {
	ID       string // the gateway device's
	TunnelIP netip.Addr
	Uplinks  []Uplink
	Routes   []Route
}

// Table returns the routing table of a gateway device, the same one each time.
func (h *Host) Table(id string) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table(id)
}

func (h *Host) table(id string) (int, error) {
	if i, ok := h.ledger.Tables[id]; ok {
		return firstTable + i, nil
	}
	taken := make(map[int]bool, len(h.ledger.Tables))
	for _, i := range h.ledger.Tables {
		taken[i] = true
	}
	for i := range maxTables {
		if taken[i] {
			continue
		}
		foreign, err := h.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: firstTable + i}, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, unix.ENOENT) { // no such table yet
			return 0, fmt.Errorf("list routes of table %d: %w", firstTable+i, err)
		}
		if len(foreign) > 0 {
			continue // somebody else's
		}
		if h.ledger.Tables == nil {
			h.ledger.Tables = map[string]int{}
		}
		h.ledger.Tables[id] = i
		if err := h.ledger.save(); err != nil {
			delete(h.ledger.Tables, id)
			return 0, fmt.Errorf("note routing table: %w", err)
		}
		return firstTable + i, nil
	}
	return 0, fmt.Errorf("no routing table left: this host serves %d gateway devices with uplinks", maxTables)
}

// AddVTEPRouter gives the host what r needs: addresses on uplinks, a table with
// its connected and extra routes, rules that lead to it. Routes of the table that
// are not wanted any more go; addresses and rules stay until PruneVTEPRouters.
func (h *Host) AddVTEPRouter(r VTEPRouter) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.addVTEPRouter(r); err != nil {
		return fmt.Errorf("underlay of gateway device %s: %w", r.ID, err)
	}
	return nil
}

func (h *Host) addVTEPRouter(r VTEPRouter) error {
	table, err := h.table(r.ID)
	if err != nil {
		return err
	}
	have, err := h.Addrs()
	if err != nil {
		return err
	}
	var (
		errs   []error
		routes []netlink.Route
		index  = make([]int, len(r.Uplinks)) // 0: not there
	)
	for i, u := range r.Uplinks {
		dev, err := h.nl.LinkByName(u.Interface)
		if err != nil {
			if isNotFound(err) {
				err = fmt.Errorf("interface %s does not exist", u.Interface)
			}
			errs = append(errs, err)
			continue
		}
		a := dev.Attrs()
		if !slices.ContainsFunc(have, func(b Addr) bool { return b.Index == a.Index && b.Prefix.Addr() == u.Addr.Addr() }) {
			if err := h.addAddr(dev, u.Addr); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if a.RawFlags&iffUp == 0 {
			errs = append(errs, fmt.Errorf("interface %s is down", u.Interface))
			continue
		}
		index[i] = a.Index
		routes = append(routes, netlink.Route{
			LinkIndex: a.Index, Dst: ipNet(u.Addr.Masked()), Scope: netlink.SCOPE_LINK,
			Src: u.Addr.Addr().AsSlice(), Table: table, Protocol: routeProtocol, Type: unix.RTN_UNICAST,
		})
	}
	to := map[netip.Prefix]int{} // where the route to a prefix is
	for _, rt := range r.Routes {
		// The first uplink whose subnet has the next hop; without one the router
		// itself has no such route either.
		i := slices.IndexFunc(r.Uplinks, func(u Uplink) bool { return u.Addr.Contains(rt.NextHop) })
		if i < 0 || index[i] == 0 {
			continue
		}
		if at, ok := to[rt.Prefix.Masked()]; ok {
			addHop(&routes[at], index[i], rt.NextHop)
			continue
		}
		to[rt.Prefix.Masked()] = len(routes)
		routes = append(routes, netlink.Route{
			LinkIndex: index[i], Dst: ipNet(rt.Prefix.Masked()), Gw: rt.NextHop.AsSlice(),
			Table: table, Protocol: routeProtocol, Type: unix.RTN_UNICAST,
		})
	}
	if err := h.syncTable(table, routes); err != nil {
		errs = append(errs, err)
	}
	for _, ip := range ruleSources(r) {
		if err := h.addRule(ledgerRule{From: ip, Table: table}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ruleSources are the addresses whose packets go by the router's table. The uplinks' own
// are among them: the kernel answers an ARP request under strict rp_filter
// only where the way back, from the asked address, leads out of the same interface.
func ruleSources(r VTEPRouter) []netip.Addr {
	ips := []netip.Addr{r.TunnelIP}
	for _, u := range r.Uplinks {
		if u.Addr.Addr() != r.TunnelIP {
			ips = append(ips, u.Addr.Addr())
		}
	}
	return ips
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addHop gives a route by a next hop another one.
func addHop(r *netlink.Route, link int, hop netip.Addr) {
	if r.MultiPath == nil {
		r.MultiPath = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
		r.LinkIndex, r.Gw = 0, nil
	}
	r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: link, Gw: hop.AsSlice()})
}

func destination(r netlink.Route) string {
	if r.Dst == nil {
		return "0.0.0.0/0"
	}
	return r.Dst.String()
}

// routeID tells routes of one table apart.
func routeID(r netlink.Route) string {
	id := fmt.Sprint(destination(r), " ", r.Gw, " ", r.LinkIndex)
	for _, h := range r.MultiPath {
		id += fmt.Sprint(", ", h.Gw, " ", h.LinkIndex)
	}
	return id
}

// syncTable makes want the agent's routes of a table. What is wanted comes first, so that
// a destination that keeps a route is never without one.
func (h *Host) syncTable(table int, want []netlink.Route) error {
	have, err := retryDump(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(netlink.FAMILY_V4,
			&netlink.Route{Table: table, Protocol: routeProtocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("list routes of table %d: %w", table, err)
	}
	// Connected routes first: next hops are checked against them.
	slices.SortStableFunc(want, func(a, b netlink.Route) int {
		return cmp.Compare(len(a.Gw)+len(a.MultiPath), len(b.Gw)+len(b.MultiPath))
	})
	wanted := make(map[string]bool, len(want))
	there := make(map[string]bool, len(have))
	for _, r := range have {
		there[routeID(r)] = true
	}
	replaced := map[string]bool{}
	var errs []error
	for _, r := range want {
		id := routeID(r)
		if wanted[id] {
			continue
		}
		wanted[id] = true
		if there[id] {
			continue
		}
		// Replace: other next hops for the same prefix take the old ones' place.
		replaced[destination(r)] = true
		if err := h.nl.RouteReplace(&r); err != nil {
			errs = append(errs, fmt.Errorf("add route %s to table %d: %w", id, table, err))
		}
	}
	for _, r := range have {
		// What was replaced is gone. To remove it would remove the new route where both have the same
		// first next hop: the kernel compares no more (fib_nh_match).
		if wanted[routeID(r)] || replaced[destination(r)] {
			continue
		}
		if err := h.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %s from table %d: %w", routeID(r), table, err))
		}
	}
	return errors.Join(errs...)
}

func nlRule(r ledgerRule) *netlink.Rule {
	nr := netlink.NewRule()
	nr.Family = netlink.FAMILY_V4
	nr.Src = ipNet(netip.PrefixFrom(r.From, r.From.BitLen()))
	nr.Table, nr.Priority = r.Table, r.Table
	nr.Protocol = routeProtocol
	return nr
}

func (h *Host) addRule(r ledgerRule) error {
	have, err := retryDump(func() ([]netlink.Rule, error) { return h.nl.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	nr := nlRule(r)
	for _, b := range have {
		if b.Priority == nr.Priority && b.Table == nr.Table && b.Src != nil && b.Src.String() == nr.Src.String() {
			return nil
		}
	}
	if err := h.ledger.addRule(r); err != nil {
		return fmt.Errorf("note rule: %w", err)
	}
	if err := h.nl.RuleAdd(nr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add rule from %s lookup %d: %w", r.From, r.Table, err)
	}
	return nil
}

// PruneVTEPRouters takes away what the agent added for routers, or parts of them, that
// are not in rs.
func (h *Host) PruneVTEPRouters(rs []VTEPRouter) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var (
		errs   []error
		rules  = map[ledgerRule]bool{}
		tables = map[int]bool{}
	)
	type place struct {
		iface  string
		prefix netip.Prefix
	}
	addrs := map[place]bool{}
	for _, r := range rs {
		i, ok := h.ledger.Tables[r.ID]
		if !ok {
			continue
		}
		tables[firstTable+i] = true
		for _, ip := range ruleSources(r) {
			rules[ledgerRule{From: ip, Table: firstTable + i}] = true
		}
		for _, u := range r.Uplinks {
			addrs[place{u.Interface, u.Addr}] = true
		}
	}
	for _, r := range append([]ledgerRule(nil), h.ledger.Rules...) {
		if rules[r] {
			continue
		}
		if err := h.nl.RuleDel(nlRule(r)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove rule from %s lookup %d: %w", r.From, r.Table, err))
			continue
		}
		if err := h.ledger.dropRule(r); err != nil {
			errs = append(errs, fmt.Errorf("strike out rule: %w", err))
		}
	}
	for _, i := range h.ledger.Tables {
		if !tables[firstTable+i] {
			errs = append(errs, h.syncTable(firstTable+i, nil))
		}
	}
	errs = append(errs, h.pruneAddrs(func(a ledgerAddr) bool {
		return a.Interface == VXLANDevice || addrs[place{a.Interface, a.Prefix}]
	}))
	return errors.Join(errs...)
}

// ForgetTables frees the indexes of gateway devices that keep refuses. Their tables must
// be empty (PruneVTEPRouters).
func (h *Host) ForgetTables(keep func(id string) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.ledger.Tables {
		if !keep(id) {
			delete(h.ledger.Tables, id)
		}
	}
	return h.ledger.save()
}

// Cleanup takes away everything the agent ever added to this host and is still
// there.
func (h *Host) Cleanup() error {
	errs := []error{h.PruneVTEPRouters(nil)}
	h.mu.Lock()
	defer h.mu.Unlock()
	errs = append(errs, h.pruneAddrs(func(ledgerAddr) bool { return false }))
	for _, name := range []string{VXLANDevice, FabricDevice, SlowDevice} {
		errs = append(errs, h.removeDevice(name))
	}
	h.ledger.Tables = nil
	return errors.Join(append(errs, h.ledger.save())...)
}
