// Package plan works out what makes the sites as a peering's file says: a pure
// function of the file and of what the sites say of themselves. It also finds
// everything that stands in the way, at all sites at once.
package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
)

// Plan is what would be done, and what stands in the way of it.
type Plan struct {
	Peering string `json:"peering"`
	// Goal says which kind of plan it is.
	Goal Goal `json:"goal"`
	// Choices are what the file leaves open and what was chosen.
	Choices Choices `json:"choices"`
	// Blockers must be gone before anything is done. Warnings need not.
	Blockers []Problem `json:"blockers"`
	Warnings []Problem `json:"warnings"`
	// Around are the blockers of a plan that goes around them: it does nothing of what they
	// concern, which is LeftAlone.
	Around    []Problem `json:"around,omitempty"`
	LeftAlone LeftAlone `json:"left_alone,omitzero"`
	// Counts is what the plan comes to.
	Counts Counts `json:"counts"`
	// Actions are in an order that keeps every After.
	Actions []Action `json:"actions"`
	// Sites are the names in the order of the file.
	Sites []string `json:"sites"`
}

// Goal is what a plan is for.
type Goal string

// The goals.
const (
	Apply   Goal = "apply"
	Destroy Goal = "destroy"
	Adopt   Goal = "adopt"
)

// Empty tells whether there is nothing to do and nothing in the way.
func (p *Plan) Empty() bool { return len(p.Actions) == 0 && len(p.Blockers) == 0 }

// Choices are the values that all sites share.
type Choices struct {
	CIDR  netip.Prefix `json:"cidr"`
	VNI   model.VNI    `json:"vni"`
	MTU   int          `json:"mtu,omitempty"`
	Sites []SiteChoice `json:"sites"`
}

// SiteChoice is how the other sites see a site.
type SiteChoice struct {
	Site      string         `json:"site"`
	Address   netip.Addr     `json:"address"`
	MAC       model.NamedMAC `json:"mac"`
	TunnelIP  netip.Addr     `json:"tunnel_ip"`
	Advertise []netip.Prefix `json:"advertise"`

	advertises map[netip.Prefix]bool
}

// Problem is something that stands in the way, or that one should know.
type Problem struct {
	Site string `json:"site,omitempty"`
	// Sites are all that it is about, Site among them, where one obstacle is at several.
	Sites []string `json:"sites,omitempty"`
	// Remote is the other site, where it is about the two of them; both tells that it is
	// about all of both.
	Remote   string `json:"remote,omitempty"`
	both     bool
	Resource string `json:"resource,omitempty"` // router SiteATenantRouter
	Text     string `json:"text"`
	// Hint is the way out.
	Hint string `json:"hint,omitempty"`
	// Command mends it, typed into a shell; "" where no one command does.
	Command string `json:"command,omitempty"`
	// Stops tells that packets of the peering are lost while it is so: those of these
	// Networks of the site's, or all of the site's if there are none.
	Stops    bool           `json:"stops,omitempty"`
	Networks []netip.Prefix `json:"networks,omitempty"`
}

func (p Problem) String() string {
	s := p.Text
	if p.Resource != "" {
		s = p.Resource + ": " + s
	}
	switch {
	case len(p.Sites) > 0:
		s = strings.Join(p.Sites, ", ") + ": " + s
	case p.Site != "":
		s = p.Site + ": " + s
	}
	return s
}

// at tells whether a problem is one of a site's.
func (p Problem) at(site string) bool { return p.Site == site || slices.Contains(p.Sites, site) }

// same tells whether two problems say the same.
func (p Problem) same(o Problem) bool {
	return p.String() == o.String() && p.Remote == o.Remote && p.both == o.both && p.Hint == o.Hint
}

// Op is what an action does to a resource.
type Op string

// The operations.
const (
	Create       Op = "create"
	Update       Op = "update"
	Delete       Op = "delete"
	AddTag       Op = "tag"
	RemoveTag    Op = "untag"
	Attach       Op = "attach" // a port to a router
	Detach       Op = "detach" // and with it the port goes
	AddRoutes    Op = "add routes"
	RemoveRoutes Op = "remove routes"
)

// Kind is a kind of resource, by the API's singular name.
type Kind string

// The kinds.
const (
	Network    Kind = "network"
	Subnet     Kind = "subnet"
	Port       Kind = "port"
	Router     Kind = "router"
	Device     Kind = "gateway_device"
	L2Gateway  Kind = "l2_gateway"
	Connection Kind = "l2_gateway_connection"
	RemoteMAC  Kind = "remote_mac_entry"
)

// Ref names a resource by its id, or by the action that makes it.
type Ref struct {
	ID   string `json:"id,omitempty"`
	From string `json:"from,omitempty"`
}

// IsZero tells whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Attrs are attributes by the API's names. Values are what JSON has, and Ref.
type Attrs map[string]any

// Action is one step: one change of one resource of one site.
type Action struct {
	ID   string `json:"id"`
	Site string `json:"site"`
	Op   Op     `json:"op"`
	Kind Kind   `json:"kind"`
	// What says what the resource is to the peering, for people.
	What string `json:"what"`
	// Remote is the other site that it is about; "" for all.
	Remote string `json:"remote,omitempty"`
	// Target is the resource; zero for what is created.
	Target Ref `json:"target,omitzero"`
	// Parent is the gateway device of a remote MAC entry, the router of an
	// interface.
	Parent Ref `json:"parent,omitzero"`
	// Attrs are set by create and update. Before is what they were; for a delete,
	// what it takes to make the resource again.
	Attrs  Attrs  `json:"attrs,omitempty"`
	Before Attrs  `json:"before,omitempty"`
	Tag    string `json:"tag,omitempty"`
	// Tags are those that a deleted resource has.
	Tags   []string         `json:"tags,omitempty"`
	Routes []observed.Route `json:"routes,omitempty"`
	// After are the ids of the actions that come first.
	After []string `json:"after,omitempty"`
}
