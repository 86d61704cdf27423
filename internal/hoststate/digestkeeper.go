package hoststate

import "maps"

// DigestKeeper keeps the digests of one State up to date at the cost of the rows that change. The zero
// DigestKeeper works them out when it is first asked.
type DigestKeeper struct {
	sums Digests // nil: not known
	h    hasher
}

// Change takes a delta in that s is about to be changed by. It is to be called before each s.Apply.
func (k *DigestKeeper) Change(s *State, d Delta) {
	if d.Full || len(d.Set.Gateways)+len(d.Unset.Gateways) > 0 {
		k.sums = nil // rows of VNIs may be another group's
	}
	if k.sums == nil {
		return
	}
	of := tunnelsOf(s)
	for _, t := range tables {
		t.digestChange(k, of, s, &d)
	}
}

// Digests are those of s.
func (k *DigestKeeper) Digests(s *State) Digests {
	if k.sums == nil {
		k.sums = s.Digests()
	}
	return maps.Clone(k.sums)
}

func (k *DigestKeeper) move(g Group, by Digest, add bool) {
	d := k.sums[g]
	if add {
		d.add(by)
	} else {
		d.sub(by)
	}
	if d == (Digest{}) {
		delete(k.sums, g) // of no rows
		return
	}
	k.sums[g] = d
}

func (t *Table[K, V]) digestChange(k *DigestKeeper, of tunnels, s *State, d *Delta) {
	rows := *t.Rows(s)
	drop := func(key K) {
		if old, ok := rows[key]; ok {
			k.move(t.group(of, key, old), t.digest(&k.h, key, old), false)
		}
	}
	gone := make(map[K]struct{}, len(*t.Gone(&d.Unset)))
	for _, key := range *t.Gone(&d.Unset) {
		if _, twice := gone[key]; !twice {
			gone[key] = struct{}{}
			drop(key)
		}
	}
	for key, v := range *t.Rows(&d.Set) {
		if _, dropped := gone[key]; !dropped {
			drop(key)
		}
		k.move(t.group(of, key, v), t.digest(&k.h, key, v), true)
	}
}
