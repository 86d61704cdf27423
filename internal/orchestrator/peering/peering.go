// Package peering reads the files that say which tenant routers of which sites are
// peered. It knows nothing of what the sites look like.
package peering

import (
	"net/netip"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
)

// MaxSites bounds a peering: each site knows every other one.
const MaxSites = 200

// MaxChosenVNI is the largest VNI that is chosen where a file names none. A file may name
// the one beyond it too, which MidoNet refuses on an L2 gateway.
const MaxChosenVNI model.VNI = model.MaxVNI - 1

// Peering is what one document of a file says.
type Peering struct {
	Name    string
	Network Network
	Sites   []Site
	// Place is the file and line of the document, for messages.
	Place string
}

// Network is the multi-site network.
type Network struct {
	CIDR netip.Prefix
	VNI  model.VNI // 0: chosen
	MTU  int       // bytes of an IP packet; 0: what fits at every site
}

// Site is one site of a peering.
type Site struct {
	Name    string
	Access  Access
	Gateway Gateway
	// Router is the peer router: name or id.
	Router  string
	Address netip.Addr     // of the peer router port; zero: chosen
	MAC     model.NamedMAC // of the peer router port; zero: chosen
	// Advertise is what the other sites reach by this one; nil: every subnet on the
	// router but the multi-site one.
	Advertise []netip.Prefix
}

// Access says how a site's API is reached and who asks.
type Access struct {
	Cloud    string // an entry of clouds.yaml
	Endpoint string // or the API's root URL
	// Auth are the credentials that go with it, by the names that clouds.yaml has.
	Auth map[string]string
}

// Gateway is the VXLAN endpoint of a site: a device that exists, or a router that
// is made one.
type Gateway struct {
	Device   string // name or id
	Router   string // name or id
	TunnelIP netip.Addr
}

// Make tells whether the gateway device is the peering's to make.
func (g Gateway) Make() bool { return g.Device == "" }

// Site gives the site of a name.
func (p *Peering) Site(name string) *Site {
	for i := range p.Sites {
		if p.Sites[i].Name == name {
			return &p.Sites[i]
		}
	}
	return nil
}

// SiteNames are the names in the order of the file.
func (p *Peering) SiteNames() []string {
	out := make([]string, len(p.Sites))
	for i, s := range p.Sites {
		out[i] = s.Name
	}
	return out
}

// maxName bounds the names of peerings and sites: they stand in tags, together.
const maxName = 60

// validName keeps names fit for tags, which have neither comma nor slash, and for
// shells and labels of metrics.
func validName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '-' || s[0] == '.' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}
