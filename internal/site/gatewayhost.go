package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Who serves a gateway device of type router_vtep. Hosts whose agents say so (--gateway) may; where no
// agent of the site says so, all hosts may. A host that is drained may not. Among those that may, the device goes to
// the one that it is bound to, and stays where it is if it is bound to none. For a new device one is chosen: by priority, then who has
// the fewest devices, then by name. A device that has to leave its host goes to the first of its standbys: see rank. A device never
// moves because another host would be chosen today.

// noteGatewayHost keeps the list of the hosts whose agents say that they may serve gateway devices. It
// is written only when it changes, so that hosts without --gateway do not wait for each other.
func (t *tx) noteGatewayHost(now *model.Host) {
	_, listed := t.Lookup(ixGatewayHost, string(now.Name))
	switch {
	case now.GatewayPriority > 0 && !listed:
		t.SetIndex(ixGatewayHost, string(now.Name), "")
	case now.GatewayPriority == 0 && listed:
		t.DeleteIndex(ixGatewayHost, string(now.Name))
	}
}

// gatewayHosts are the hosts whose agents say that they may serve gateway devices, in order of name.
func gatewayHosts(r store.Reader) []string {
	var names []string
	for name := range r.Scan(ixGatewayHost, "") {
		names = append(names, name)
	}
	return names
}

// mayNotServe says in words, with the way out, why a host may not serve gateway devices; "": it may.
func mayNotServe(r store.Reader, name model.HostName) string {
	h := store.Get(r, store.Hosts, string(name))
	if h == nil {
		return fmt.Sprintf("host %s is not of this site: no agent of it has connected, or it was deleted", name)
	}
	if h.GatewayPriority == 0 {
		if others := gatewayHosts(r); len(others) > 0 {
			return fmt.Sprintf("the agent of host %s does not say that it may serve gateway devices, and that of host %s does: start it with --gateway", name, others[0])
		}
	}
	if drained(r, name) {
		return fmt.Sprintf("host %s is drained: causeway host drain %s --undo", name, name)
	}
	return ""
}

// drained tells whether an operator has said that a host is to have no gateway devices.
func drained(r store.Reader, name model.HostName) bool {
	a := store.Get(r, store.Agents, string(AgentID(name)))
	return a != nil && !a.AdminStateUp
}

// checkBinding refuses a device's binding to a host that may not serve it.
func (t *tx) checkBinding(d *model.GatewayDevice) error {
	if d.HostID == "" {
		return nil
	}
	if !placed(d) {
		return invalidInput("binding:host_id has no meaning for gateway devices of type %s", d.Type)
	}
	if why := mayNotServe(t, d.HostID); why != "" {
		return conflict("GatewayHostInvalid", "Gateway device %s cannot be bound to host %s: %s.", d.ID, d.HostID, why)
	}
	return nil
}

// candidates are the hosts that may serve gateway devices.
func candidates(r store.Reader) (list []*model.Host) {
	said := gatewayHosts(r)
	if 0 < len(said) && len(said) <= placeChunk { // others may come and go meanwhile
		for _, name := range said {
			if h := store.Get(r, store.Hosts, name); h != nil && !drained(r, h.Name) {
				list = append(list, h)
			}
		}
		return list
	}
	down := map[model.HostName]bool{}
	for a := range store.All(r, store.Agents) {
		down[a.Host] = !a.AdminStateUp
	}
	for h := range store.All(r, store.Hosts) {
		if !down[h.Name] && (len(said) == 0 || slices.Contains(said, string(h.Name))) {
			list = append(list, h)
		}
	}
	return list
}

// choose is the best of the candidates for a new device.
func choose(r store.Reader, list []*model.Host) *model.Host {
	load := map[model.HostName]int{}
	for p := range store.All(r, store.Placements) {
		load[bound(p)]++
	}
	return slices.MinFunc(list, func(a, b *model.Host) int {
		return cmp.Or(byPriority(a, b), cmp.Compare(load[a.Name], load[b.Name]), cmp.Compare(a.Name, b.Name))
	})
}

// byPriority orders hosts that answer before those that are gone, then by priority.
func byPriority(a, b *model.Host) int {
	switch {
	case a.Gone == b.Gone:
		return cmp.Compare(b.GatewayPriority, a.GatewayPriority)
	case a.Gone:
		return 1
	}
	return -1
}

// place gives a device its place, if it is to have another one than it has or is on its way to. Where no host may serve
// it, it stays where it is; if that host is no more, it has no place.
func (t *tx) place(d *model.GatewayDevice) {
	had := store.Get(t, store.Placements, string(d.ID))
	now := t.withoutDeleted(had)
	if d.HostID != "" && mayNotServe(t, d.HostID) == "" {
		t.putPlace(d, now, d.HostID)
		return
	}
	if now != nil && !drained(t, bound(now)) {
		return
	}
	list := candidates(t)
	switch {
	case len(list) == 0:
	case had == nil:
		t.putPlace(d, now, choose(t, list).Name)
	default:
		t.putPlace(d, now, rank(d.ID, list)[0].Name)
	}
}

// placeChunk bounds the devices that are placed in one transaction: a cluster's takes 128 operations.
const placeChunk = 20

// placeAll gives all devices their places: hosts have changed. It is done for some devices at a time. What an
// error leaves undone, the next call does.
func (s *Site) placeAll(ctx context.Context) error {
	return s.placeThose(ctx, func(r store.Reader, d *model.GatewayDevice, now *model.Placement) bool {
		return displaced(r, now) || d.HostID != "" && bound(now) != d.HostID && mayNotServe(r, d.HostID) == ""
	})
}

// placeOn gives a host that has connected, if it may serve them, the devices that are bound to it, that have no
// place, or whose host is drained. A host that comes does not depend on what others do, so that all can come at once.
func (s *Site) placeOn(ctx context.Context, name model.HostName) error {
	return s.placeThose(ctx, func(r store.Reader, d *model.GatewayDevice, now *model.Placement) bool {
		if displaced(r, now) && (now == nil || bound(now) != name) {
			return mayNotServe(r, name) == ""
		}
		return d.HostID == name && bound(now) != name
	})
}

// displaced tells whether a device is to leave its place: there is none, or a host of it is deleted or drained.
func displaced(r store.Reader, p *model.Placement) bool {
	there := func(h model.HostName) bool { return store.Get(r, store.Hosts, string(h)) != nil }
	return p == nil || !there(p.Host) || p.Other != "" && !there(p.Other) || p.Next != "" && !there(p.Next) || drained(r, bound(p))
}

func (s *Site) placeThose(ctx context.Context, which func(store.Reader, *model.GatewayDevice, *model.Placement) bool) error {
	// The site places for itself: who asked for what made it necessary needs no leave for it, and may
	// have deleted what the leave is about.
	ctx = WithAccess(ctx, Access{Done: accessOf(ctx).Done})
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	var ids []string
	for d := range store.All(snap, store.GatewayDevices) {
		if placed(d) && which(snap, d, store.Get(snap, store.Placements, string(d.ID))) {
			ids = append(ids, string(d.ID))
		}
	}
	for n := placeChunk; len(ids) > 0; {
		n = min(n, len(ids))
		err := s.update(ctx, func(t *tx) error {
			for _, id := range ids[:n] {
				if d := store.Get(t, store.GatewayDevices, id); d != nil {
					t.place(d)
				}
			}
			return nil
		})
		var e *model.Error
		switch {
		case err == nil:
			ids = ids[n:]
		case n > 1 && errors.As(err, &e) && e.Kind == model.KindTooLarge:
			n /= 2 // their routers have many ports
		default:
			return err
		}
	}
	return nil
}

// GatewayHost says who serves a gateway device, and in words what is not as it should be about that, with the way
// out; "": nothing.
func GatewayHost(r store.Reader, d *model.GatewayDevice) (host model.HostName, words string) {
	if !placed(d) {
		return "", ""
	}
	p := store.Get(r, store.Placements, string(d.ID))
	if p == nil {
		return "", "no host serves it: " + nobodyMay(r)
	}
	if p.Other != "" {
		return p.Host, moving(p)
	}
	switch why := mayNotServe(r, p.Host); {
	case d.HostID != "" && d.HostID != p.Host:
		return p.Host, fmt.Sprintf("it is bound to host %s and served by host %s: %s", d.HostID, p.Host, cmp.Or(mayNotServe(r, d.HostID), notTaken(r, d.HostID)))
	case why != "" && drained(r, p.Host):
		return p.Host, fmt.Sprintf("host %s is drained and serves it still: %s", p.Host, nobodyMay(r))
	case why != "":
		return p.Host, why + ", or bind the device to another host (causeway gateway-device update --host)"
	}
	return p.Host, hostGone(r, p.Host)
}

// notTaken says in words, with the way out, why a host that may serve a gateway device does not.
func notTaken(r store.Reader, name model.HostName) string {
	if gone := hostGone(r, name); gone != "" {
		return gone + ". The device goes there when it is back"
	}
	return fmt.Sprintf("host %s did not take it in time. See causeway host show %s, and then ask again: causeway gateway-device update --host %s, or causeway host drain for the host that it is to leave", name, name, name)
}

// nobodyMay says in words why no host may serve gateway devices, and the way out.
func nobodyMay(r store.Reader) string {
	var hosts []string
	said := gatewayHosts(r)
	if len(said) > 0 {
		hosts = said
	} else {
		for h := range store.All(r, store.Hosts) {
			hosts = append(hosts, string(h.Name))
		}
	}
	for _, name := range hosts {
		if !drained(r, model.HostName(name)) {
			return fmt.Sprintf("host %s may, but %s", name, notTaken(r, model.HostName(name)))
		}
	}
	const most = 3
	switch names := strings.Join(hosts[:min(most, len(hosts))], ", "); {
	case len(hosts) == 0:
		return "no agent has connected yet"
	case len(said) > 0:
		return fmt.Sprintf("all hosts that may serve gateway devices are drained (%s): causeway host drain HOST --undo, or start the agent of another host with --gateway", names)
	default:
		return fmt.Sprintf("all hosts are drained (%s): causeway host drain HOST --undo, or start an agent on another host", names)
	}
}

// DevicesOn is how many gateway devices a host serves.
func DevicesOn(r store.Reader, host model.HostName) (n int) {
	for p := range store.All(r, store.Placements) {
		if p.Host == host {
			n++
		}
	}
	return n
}
