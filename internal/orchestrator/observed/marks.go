package observed

import (
	"slices"
	"strings"
)

// What belongs to a peering is told by marks on it, so that any machine with the
// file and the accounts can take a peering over.
//
// A tag of a network, subnet or port names the peering and the site that it stands
// for: on a network and subnet the site itself, on a port the site whose peer router
// has it. The description says the same from the moment of creation on, since no API
// creates and tags in one step. Gateway devices and L2 gateways have neither: their
// names are the mark. A VTEP router has a tag for each peering that uses what was
// made on it, so that the last one takes it away.
const (
	prefix      = "causeway:"
	peeringMark = prefix + "peering:"
	usesMark    = prefix + "uses:"
	// GatewayMark is the description of a VTEP router that was made for peerings,
	// and the beginning of the names of such gateway devices.
	GatewayMark = prefix + "gateway"
	// LeaseMark begins the tags by which one run keeps others away.
	LeaseMark = prefix + "lease:"
)

// Tag is the mark of what stands for a site in a peering.
func Tag(peering, site string) string { return peeringMark + peering + ":" + site }

// UsesTag marks a VTEP router as used by a site of a peering.
func UsesTag(peering, site string) string { return usesMark + peering + ":" + site }

// DeviceName is the name of a gateway device that was made on a router.
func DeviceName(router string) string { return GatewayMark + ":" + router }

// SiteOfTag is the site that tags or description give for a peering; tagged tells
// whether the tag is there, and not only the description.
func SiteOfTag(peering string, tags []string, description string) (site string, tagged bool) {
	for _, t := range tags {
		if s, ok := strings.CutPrefix(t, peeringMark+peering+":"); ok {
			return s, true
		}
	}
	s, _ := strings.CutPrefix(description, peeringMark+peering+":")
	if s == description {
		s = ""
	}
	return s, false
}

// AnyPeering tells whether something bears the mark of any peering.
func AnyPeering(tags []string, description string) bool {
	return strings.HasPrefix(description, peeringMark) ||
		slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, peeringMark) })
}

// PeeringOf is the peering, and the site of it, whose mark something bears.
func PeeringOf(tags []string, description string) (peering, site string) {
	for _, t := range append(slices.Clone(tags), description) {
		if rest, ok := strings.CutPrefix(t, peeringMark); ok {
			peering, site, _ = strings.Cut(rest, ":")
			return peering, site
		}
	}
	return "", ""
}

// Users are the tags of the peerings that use a VTEP router.
func Users(tags []string) []string {
	var out []string
	for _, t := range tags {
		if strings.HasPrefix(t, usesMark) {
			out = append(out, t)
		}
	}
	return out
}

// UserOf is the peering that a tag of Users names.
func UserOf(tag string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(tag, usesMark), ":")
	return name
}

// IsMark tells whether a tag is one of ours.
func IsMark(tag string) bool { return strings.HasPrefix(tag, prefix) }

// NetworkName is what the multi-site network of a site is called.
func NetworkName(peering, site string) string { return "causeway-" + peering + "-" + site }
