package neutronapi

import (
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// allowedPair is an allowed address pair in replies.
type allowedPair struct {
	IP  string `json:"ip_address"`
	MAC string `json:"mac_address"`
}

// How many pairs there may be, and what they may say beside each other, is the site's
// to check.
func allowedPairsAttr() attribute[site.PortInput, model.Port] {
	return attribute[site.PortInput, model.Port]{
		name: "allowed_address_pairs", post: true, put: true,
		takes: into(allowedPairs(), func(i *site.PortInput) *[]model.AllowedPair { return &i.AllowedPairs }),
		get: func(_ store.Snapshot, p *model.Port) any {
			out := make([]allowedPair, 0, len(p.AllowedPairs))
			for _, a := range p.AllowedPairs {
				out = append(out, allowedPair{a.Addresses.String(), p.PairMAC(a).String()})
			}
			return out
		},
	}
}

// allowedPairs takes a list; null means none.
func allowedPairs() value[[]model.AllowedPair] {
	type pair = model.AllowedPair
	o := object(
		key[pair]{"mac_address", false, into(mac(), func(p *pair) *model.NamedMAC { return &p.MAC })},
		key[pair]{"ip_address", true, into(addressRange(), func(p *pair) *model.AddressRange { return &p.Addresses })},
	)
	l := nullable(listOf(value[pair]{o.takes, o.gives, func(x any) (pair, error) {
		if d, ok := x.(map[string]any); ok {
			if _, given := d["ip_address"]; !given {
				return pair{}, model.Errf(model.KindInvalid, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
			}
		}
		return o.parse(x)
	}}, -1, ""))
	return value[[]pair]{l.takes, l.gives, func(x any) ([]pair, error) {
		if _, ok := x.([]any); !ok && x != nil {
			return nil, badAttribute("Allowed address pairs must be a list.")
		}
		return l.parse(x)
	}}
}

// addressRange takes an address or a prefix.
func addressRange() value[model.AddressRange] {
	s := pattern(`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`)
	return value[model.AddressRange]{s, s, func(x any) (model.AddressRange, error) {
		s, _ := x.(string)
		r, err := model.ParseAddressRange(s)
		switch {
		case err == nil:
			return r, nil
		case !strings.Contains(s, "/"):
			return r, reasonf("'%s' is not a valid IP address", text(x))
		}
		if _, err := toPrefix(x); err != nil {
			return r, err // in the words that subnets have
		}
		return r, reasonf("'%s' is not a valid IP subnet", text(x))
	}}
}
