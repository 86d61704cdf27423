package dataplane

import (
	"errors"
	"fmt"
	"maps"

	"github.com/causeway-net/causeway/internal/model"
)

// errFull is what a row that finds no room comes to.
var errFull = errors.New("row left out")

// Full says that a map had no room for some rows. All others were written.
type Full struct {
	Map   string
	Limit uint32 // rows that the map takes
	Rows  int    // rows left out
	// Ports are those that lack one of them.
	Ports map[model.PortKey]struct{}
}

func (f *Full) Error() string {
	return fmt.Sprintf("map %s is full: it takes %d rows, and %d more were left out", f.Map, f.Limit, f.Rows)
}

func (f *Full) Unwrap() error { return errFull }

// LeftOut tells of an error of Sync or Update whether it comes of nothing but full
// maps, and then which ports lack a row, each with the reason.
func LeftOut(err error) (ports map[model.PortKey]error, only bool) {
	ports = map[model.PortKey]error{}
	only = err != nil
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *Full:
			for k := range e.Ports {
				ports[k] = errors.Join(ports[k], e)
			}
		case interface{ Unwrap() []error }:
			for _, e := range e.Unwrap() {
				walk(e)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		default:
			only = false
		}
	}
	walk(err)
	return ports, only
}

// join makes one of two errors about the same map.
func (f *Full) join(g *Full) {
	f.Rows += g.Rows
	if f.Ports == nil {
		f.Ports = map[model.PortKey]struct{}{}
	}
	maps.Copy(f.Ports, g.Ports)
}

// portOf are the ports that rows of a plan serve; 0 is none.
type portOf struct {
	t *tables
	p *plan
}

func (o portOf) port(_ uint32, v bpfPort) model.PortKey { return model.PortKey(v.Port) }

func (o portOf) portAddr(k bpfPortAddrKey, _ uint32) model.PortKey { return model.PortKey(k.Port) }

func (o portOf) pair(k bpfPairKey, _ uint32) model.PortKey {
	if k.Kind == pairNet {
		return 0
	}
	return model.PortKey(bigEndian(k.Id))
}

func (o portOf) endpoint(_ bpfEndpointKey, v bpfEndpoint) model.PortKey {
	if v.Kind != endpointPort {
		return 0
	}
	return model.PortKey(v.Id)
}

func (o portOf) neighbor(k bpfNeighborKey, v bpfNeighbor) model.PortKey {
	at := bpfEndpointKey{Net: k.Net, Mac: v.Mac}
	e, ok := o.p.endpoints.put[at]
	if !ok {
		e = o.t.endpoints.have[at]
	}
	return o.endpoint(at, e)
}

func (o portOf) flood(_ bpfFloodKey, v bpfFlood) model.PortKey {
	p, ok := o.p.ports.put[v.Ifindex]
	if !ok {
		p = o.t.ports.have[v.Ifindex]
	}
	return model.PortKey(p.Port)
}
