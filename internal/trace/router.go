package trace

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// RouterRequest asks for the way of a packet that a router makes, as its probes are.
type RouterRequest struct {
	Router model.RouterID `json:"router_id"`
	From   netip.Addr     `json:"from"` // an address of the router
	To     netip.Addr     `json:"to"`
	Packet
}

// TraceRouter lets a router make a packet. Errors are ErrRequest.
func (p *Pipeline) TraceRouter(q RouterRequest) (Report, error) {
	var rep Report
	if !q.From.Is4() || !q.To.Is4() {
		return rep, fmt.Errorf("%w: from %s to %s: both must be IPv4 addresses", ErrRequest, q.From, q.To)
	}
	for k, r := range p.st.Routers {
		if r.ID != q.Router {
			continue
		}
		ip, err := q.Packet.build(q.From, q.To)
		if err != nil {
			return rep, err
		}
		rep.follow(p, SlowRouteFrame(k, ip), func(f []byte) Result { return p.FromSlow(Frame{Data: f}) })
		rep.Sent = packet.Describe(append(packet.Ethernet{Type: packet.TypeIPv4}.Append(nil), ip...))
		return rep, nil
	}
	return rep, fmt.Errorf("%w: router %s is not on this host", ErrRequest, q.Router)
}
