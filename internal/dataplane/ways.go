package dataplane

import (
	"github.com/causeway-net/causeway/internal/reason"
)

// MaxWays is how many interfaces may lead to one remote VTEP.
const MaxWays = 8

// DefaultMark are the bits of skb->mark by which from_vxlan knows what from_underlay
// has let pass to the kernel.
const DefaultMark = 0x63770000

// Way is how packets of a remote VTEP come and go. The zero value takes none.
type Way struct {
	// Interfaces are the indexes of those that its packets may come in by, the one
	// that most come in by first; 0: none.
	Interfaces [MaxWays]uint32
	// Kernel: by the kernel's output and input paths, whose policies see them.
	Kernel bool
	// Drop, if set, shuts it in both directions.
	Drop reason.Reason
}

func (t translator) way(v VTEP) Way { return t.env.Ways[v] }

// vteps are the rows of all remote VTEPs, other hosts of the site among them. There are few beside peers, so that they are
// always made anew.
func (t translator) vteps() map[bpfVtepKey]bpfVtep {
	rows := make(map[bpfVtepKey]bpfVtep, len(t.env.Ways))
	for v, w := range t.env.Ways {
		rows[bpfVtepKey{Local: addrRow(v.Local), Remote: addrRow(v.Remote)}] = bpfVtep{Ways: w.Interfaces}
	}
	return rows
}
