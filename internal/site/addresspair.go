package site

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// checkPairs refuses allowed address pairs that say nothing, or that nobody would
// hold the port to. old is nil for a new port.
func (l Limits) checkPairs(p, old *model.Port) error {
	if len(p.AllowedPairs) == 0 {
		return nil
	}
	if !p.PortSecurity {
		return conflict("AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port.")
	}
	var had []model.AllowedPair
	if old != nil {
		had = old.AllowedPairs
	}
	if exceeds(p.AllowedPairs, had, l.AddressPairs) {
		return model.Errf(model.KindInvalid, "AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum %d.", l.AddressPairs)
	}
	type pair struct {
		mac    model.MAC
		prefix netip.Prefix
	}
	seen := map[pair]bool{}
	for _, a := range p.AllowedPairs {
		mac, r := p.PairMAC(a), a.Addresses
		if k := (pair{mac.MAC, r.Prefix}); seen[k] {
			return model.Errf(model.KindInvalid, "DuplicateAddressPairInRequest", "Request contains duplicate address pair: mac_address %s ip_address %s.", mac, r)
		} else {
			seen[k] = true
		}
		own := slices.ContainsFunc(p.FixedIPs, func(f model.AddrPair) bool { return r.Prefix.IsSingleIP() && f.IP == r.Prefix.Addr() })
		if own && mac.MAC == p.MAC.MAC {
			return model.Errf(model.KindInvalid, "AddressPairMatchesPortFixedIPAndMac", "Port's Fixed IP and Mac Address match an address pair entry.")
		}
		if mac.MAC == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
			return invalidInput("the broadcast address cannot be the mac_address of an allowed address pair")
		}
	}
	return nil
}
