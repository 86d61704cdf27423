package controller

import (
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// erring are the ports of which each host has said that they are in status ERROR, as the store has it: what an agent that connects has
// the site forget is found among them. hub.mu guards them.
type erring map[model.HostName]map[model.PortID]struct{}

// note takes in what has become of a port's state; nil: it was or is not there.
func (e erring) note(old, now *model.PortState) {
	if old != nil && old.Status == model.PortError {
		if delete(e[old.Host], old.PortID); len(e[old.Host]) == 0 {
			delete(e, old.Host)
		}
	}
	if now == nil || now.Status != model.PortError {
		return
	}
	if e[now.Host] == nil {
		e[now.Host] = map[model.PortID]struct{}{}
	}
	e[now.Host][now.PortID] = struct{}{}
}

// noteErring takes them from a batch. It needs mu.
func (h *hub) noteErring(b store.Batch) {
	for _, c := range b.Changes {
		if c.Kind == store.PortStates.Kind() {
			old, _ := c.Old.(*model.PortState)
			now, _ := c.Object.(*model.PortState)
			h.erring.note(old, now)
		}
	}
}

// readErring takes them from a snapshot. It needs mu.
func (h *hub) readErring(r store.Reader) {
	h.erring = erring{}
	for st := range store.All(r, store.PortStates) {
		h.erring.note(nil, st)
	}
}

// erringAt are those of some hosts.
func (h *hub) erringAt(names ...model.HostName) (ids []model.PortID) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, name := range names {
		ids = slices.AppendSeq(ids, maps.Keys(h.erring[name]))
	}
	return ids
}
