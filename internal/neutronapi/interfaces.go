package neutronapi

import (
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
)

// The ports of a switch that an L2 gateway's network is on, in networking-l2gw's
// form: [{"name": "p0", "segmentation_id": ["10"]}]. Without a segmentation_id they
// are the port's frames without a VLAN tag, as with "0". Which devices have any,
// package site says.

func interfaceSchema() *openapi.Schema {
	s := closed()
	vlan := openapi.Any(openapi.Between(0, model.MaxVLAN), pattern(integerPattern))
	s.Properties["name"] = &openapi.Schema{Type: openapi.Types{openapi.String}, MinLength: 1, MaxLength: maxText}
	s.Properties["segmentation_id"] = openapi.OrNull(openapi.ListOf(vlan, -1))
	s.Required = []string{"name"}
	return s
}

func parseInterfaces(v any) ([]model.SwitchInterface, error) {
	if v == nil {
		return nil, nil
	}
	l, err := toList(v)
	if err != nil {
		return nil, err
	}
	out := make([]model.SwitchInterface, 0, len(l))
	for _, x := range l {
		d, err := toDict(x)
		if err != nil {
			return nil, err
		}
		if name := d["name"]; name == nil || name == "" {
			return nil, reason("Cannot create a gateway with an interface without a name")
		}
		if err := only(d, "name", "segmentation_id"); err != nil {
			return nil, err
		}
		name, err := toString(d["name"])
		if err != nil {
			return nil, err
		}
		vlans, err := parseVLANs(d["segmentation_id"])
		if err != nil {
			return nil, err
		}
		out = append(out, model.SwitchInterface{Name: name, VLANs: vlans})
	}
	return out, nil
}

func parseVLANs(v any) ([]uint16, error) {
	if v == nil {
		return []uint16{0}, nil
	}
	l, err := toList(v)
	if err != nil {
		return nil, err
	}
	vlans := make([]uint16, 0, len(l))
	for _, x := range l {
		n, err := toInt(x)
		if err != nil {
			return nil, err
		}
		if n < 0 || n > model.MaxVLAN {
			return nil, reasonf("'%s' is not in range 0 to %d", text(x), model.MaxVLAN)
		}
		vlans = append(vlans, uint16(n))
	}
	if len(vlans) == 0 {
		return []uint16{0}, nil
	}
	slices.Sort(vlans)
	return vlans, nil
}

func renderInterfaces(l []model.SwitchInterface) []map[string]any {
	out := make([]map[string]any, 0, len(l))
	for _, i := range l {
		vlans := make([]string, 0, len(i.VLANs))
		for _, v := range i.VLANs {
			vlans = append(vlans, strconv.Itoa(int(v)))
		}
		out = append(out, map[string]any{"name": i.Name, "segmentation_id": vlans})
	}
	return out
}
