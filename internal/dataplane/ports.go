package dataplane

import (
	"fmt"
	"net/netip"
)

// lately is a time in ticks of the kernel's clock: a minute at 1000 a second, ten at 100.
const lately = 60_000

// SentFrom tells whether the programs have lately sent a packet from local to remote with that outer
// source port. What they remember of what they sent is little: "no" is said of a flow that has
// been quiet too.
func (d *Dataplane) SentFrom(local, remote netip.Addr, port uint16) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tables == nil {
		return false, nil
	}
	m := d.tables.maps[bpfMapSentPorts]
	var newest, last uint64
	for i := range m.MaxEntries() {
		var rows []bpfSentPort // one for each CPU
		if err := m.Lookup(i, &rows); err != nil {
			return false, fmt.Errorf("read map %s: %w", bpfMapSentPorts, err)
		}
		for _, r := range rows {
			newest = max(newest, r.Tick)
			if r.Port == port && r.Local == addrRow(local) && r.Remote == addrRow(remote) {
				last = max(last, r.Tick)
			}
		}
	}
	return last > 0 && newest-last < lately, nil
}
