package neutronapi

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

func gatewayDevices(a *API) *resource[site.GatewayDeviceInput, model.GatewayDevice] {
	type in = site.GatewayDeviceInput
	type device = model.GatewayDevice
	std := func(d *device) *model.Standard { return &d.Standard }
	stdIn := func(i *in) *model.Standard { return &i.Standard }
	project := func(i *in) *model.ProjectID { return &i.ProjectID }
	owner := func(d *device) model.ProjectID { return d.ProjectID }
	return &resource[in, device]{
		name: "gateway_device", plural: "gateway_devices", path: "/v2.0/gw/gateway_devices", table: store.GatewayDevices,
		attrs: []attribute[in, device]{
			idAttr[in](func(d *device) model.GatewayDeviceID { return d.ID }),
			nameAttr(stdIn, std),
			{name: "type", post: true, always: true, takes: with(deviceType(), setDeviceType),
				get: func(_ store.Snapshot, d *device) any { return string(d.Type) }},
			projectAttr("tenant_id", project, owner),
			projectAttr("project_id", project, owner),
			{name: "resource_id", post: true,
				takes: into(label(), func(i *in) *string { return &i.ResourceID }),
				get:   func(_ store.Snapshot, d *device) any { return d.ResourceID }},
			{name: "tunnel_ips", post: true, put: true, takes: into(tunnelIPs(), func(i *in) *[]netip.Addr { return &i.TunnelIPs }),
				get: func(_ store.Snapshot, d *device) any {
					if !d.TunnelIP.IsValid() {
						return []string{}
					}
					return []string{d.TunnelIP.String()}
				}},
			{name: "management_ip", post: true, get: managed(func(m *model.Management) any { return m.IP.String() }),
				gives: openapi.OrNull(pattern(addrPattern)),
				takes: into(nullable(address()), func(i *in) *netip.Addr { return &i.ManagementIP })},
			{name: "management_port", post: true, get: managed(func(m *model.Management) any { return int(m.Port) }),
				takes: into(optional(portNumber()), func(i *in) **uint16 { return &i.ManagementPort })},
			{name: "management_protocol", post: true, get: managed(func(m *model.Management) any { return m.Protocol }),
				gives: openapi.OrNull(constant(model.OVSDB)),
				takes: into(managementProtocol(), func(i *in) *string { return &i.ManagementProtocol })},
			{name: "binding:host_id", post: true, put: true, takes: into(nullable(hostName()), func(i *in) *model.HostName { return &i.HostID }),
				get: func(_ store.Snapshot, d *device) any { return string(d.HostID) }},
			readOnly[in]("host", openapi.Of(openapi.String), func(s store.Snapshot, d *device) any {
				host, _ := site.GatewayHost(s, d)
				return string(host)
			}),
			readOnly[in]("host_reason", openapi.Of(openapi.String), func(s store.Snapshot, d *device) any {
				_, words := site.GatewayHost(s, d)
				return words
			}),
			readOnly[in]("hosts", openapi.ListOf(rankedHostSchema(), -1), func(s store.Snapshot, d *device) any {
				out := []map[string]any{}
				for _, h := range site.HostsOf(s, d) {
					out = append(out, map[string]any{"host": h.Host, "ha_state": h.State})
				}
				return out
			}),
			readOnly[in]("remote_mac_entries", openapi.ListOf(macEntrySchema(), -1), func(s store.Snapshot, d *device) any {
				out := []map[string]any{}
				for _, e := range site.RemoteMACsOf(s, d.ID) {
					out = append(out, map[string]any{
						"id": e.ID, "mac_address": e.MAC, "vtep_address": e.VTEPAddress, "segmentation_id": e.VNI,
					})
				}
				return out
			}),
		},
		noBulk: "Bulk operation not supported",
		fresh: func(r *http.Request) *in {
			return &in{GatewayDevice: device{Standard: model.Standard{ProjectID: ownerOf(r)}}}
		},
		id:       func(d *device) string { return string(d.ID) },
		revision: func(d *device) int64 { return d.Revision },
		notFound: site.GatewayDeviceNotFound,
		create:   one(a.site.CreateGatewayDevice),
		update:   a.site.UpdateGatewayDevice,
		remove:   byID(a.site.DeleteGatewayDevice),
	}
}

// one makes a bulk create of the create of a single resource, for collections that
// take no bulk.
func one[I, M any](create func(context.Context, *I) (*M, error)) func(context.Context, []*I) ([]*M, error) {
	return func(ctx context.Context, in []*I) ([]*M, error) {
		m, err := create(ctx, in[0])
		if err != nil {
			return nil, err
		}
		return []*M{m}, nil
	}
}

// byID makes the removal of what is found by its id alone.
func byID[M any](remove func(context.Context, string, func(*M) error) error) func(context.Context, *http.Request, string, func(*M) error) error {
	return func(ctx context.Context, _ *http.Request, id string, guard func(*M) error) error {
		return remove(ctx, id, guard)
	}
}

// managed shows a part of how a switch is reached, null for what is no switch.
func managed(get func(*model.Management) any) func(store.Snapshot, *model.GatewayDevice) any {
	return func(_ store.Snapshot, d *model.GatewayDevice) any {
		if d.Management == nil {
			return nil
		}
		return get(d.Management)
	}
}

// deviceType is what clients may ask for; package site says what of it exists.
func deviceType() value[string] {
	known := oneOf(site.GatewayDeviceTypes()...)
	return value[string]{openapi.OrNull(known.takes), known.gives, func(v any) (string, error) {
		if v == nil {
			v = string(model.HWVTEP) // the extension's default
		}
		return known.parse(v)
	}}
}

func setDeviceType(i *site.GatewayDeviceInput, s string) error {
	i.Type = model.GatewayDeviceType(s)
	return nil
}

func portNumber() value[uint16] {
	number := openapi.Between(0, 65535)
	return value[uint16]{openapi.Any(number, pattern(integerPattern)), number, func(v any) (uint16, error) {
		n, err := toInt(v)
		if err == nil && (n < 0 || n > 65535) {
			err = reasonf("'%s' is not a valid port number", text(v))
		}
		return uint16(n), err
	}}
}

// managementProtocol takes null and the empty text for none.
func managementProtocol() value[string] {
	known := oneOf(model.OVSDB)
	takes := openapi.Any(known.takes, openapi.Of(openapi.Null), constant(""))
	return value[string]{takes, known.gives, func(v any) (string, error) {
		if v == nil || v == "" {
			return "", nil
		}
		return known.parse(v)
	}}
}

// tunnelIPs takes null and the empty text, which clients send, for none.
func tunnelIPs() value[[]netip.Addr] {
	l := listOf(address(), -1, "")
	takes := openapi.Any(l.takes, openapi.Of(openapi.Null), constant(""))
	return value[[]netip.Addr]{takes, l.gives, func(v any) ([]netip.Addr, error) {
		if v == nil || v == "" {
			return nil, nil
		}
		return l.parse(v)
	}}
}

// rankedHostSchema describes a host that serves a gateway device or stands by.
func rankedHostSchema() *openapi.Schema {
	s := closed()
	s.Properties["host"] = openapi.Of(openapi.String)
	s.Properties["ha_state"] = enum(string(site.HAActive), string(site.HAStandby), string(site.HAUnknown))
	return s
}

// macEntrySchema describes an entry as its device's replies show it.
func macEntrySchema() *openapi.Schema {
	s := closed()
	s.Properties["id"], s.Properties["mac_address"] = pattern(uuidPattern), pattern(macPattern)
	s.Properties["vtep_address"], s.Properties["segmentation_id"] = pattern(addrPattern), openapi.Between(1, model.MaxVNI)
	return s
}

func remoteMACs(a *API) *resource[model.RemoteMACEntry, model.RemoteMACEntry] {
	type entry = model.RemoteMACEntry
	device := func(r *http.Request) model.GatewayDeviceID { return model.GatewayDeviceID(r.PathValue("device")) }
	unused := func(*entry) *model.ProjectID { return new(model.ProjectID) } // an entry belongs to its device's owner
	r := &resource[entry, entry]{
		name: "remote_mac_entry", plural: "remote_mac_entries",
		path: "/v2.0/gw/gateway_devices/{device}/remote_mac_entries", table: store.RemoteMACEntries,
		attrs: []attribute[entry, entry]{
			idAttr[entry](func(e *entry) model.RemoteMACEntryID { return e.ID }),
			{name: "mac_address", post: true, required: true,
				takes: into(mac(), func(e *entry) *model.NamedMAC { return &e.MAC }),
				get:   func(_ store.Snapshot, e *entry) any { return e.MAC.String() },
				match: func(_ store.Snapshot, e *entry, want []string) bool {
					return slices.ContainsFunc(want, func(w string) bool {
						m, err := model.ParseMAC(w)
						return err == nil && m == e.MAC.MAC
					})
				}},
			{name: "vtep_address", post: true, always: true,
				takes: into(address(), func(e *entry) *netip.Addr { return &e.VTEPAddress }),
				get:   func(_ store.Snapshot, e *entry) any { return e.VTEPAddress.String() }},
			{name: "segmentation_id", post: true, required: true, takes: into(segmentation(), func(e *entry) *model.VNI { return &e.VNI }),
				get: func(_ store.Snapshot, e *entry) any { return int(e.VNI) }},
			projectAttr[entry, entry]("tenant_id", unused, nil),
			projectAttr[entry, entry]("project_id", unused, nil),
		},
		fresh:    func(r *http.Request) *entry { return &entry{DeviceID: device(r)} },
		id:       func(e *entry) string { return string(e.ID) },
		notFound: site.RemoteMACEntryNotFound,
		create:   one(a.site.CreateRemoteMAC),
		noUpdate: badAttribute("Cannot update a remote_mac_entry: delete it and create another"),
		remove: func(ctx context.Context, r *http.Request, id string, _ func(*entry) error) error {
			return a.site.DeleteRemoteMAC(ctx, device(r), id)
		},
		parent: func(r *http.Request, v view) error {
			d := store.Get(v, store.GatewayDevices, string(device(r)))
			if d == nil || !gatewayDevices(a).visible(a, v, d) {
				return site.GatewayDeviceNotFound(clip(string(device(r))))
			}
			return nil
		},
		all: func(r *http.Request, s store.Snapshot) (iter.Seq[*entry], error) {
			if store.Get(s, store.GatewayDevices, string(device(r))) == nil {
				return nil, site.GatewayDeviceNotFound(clip(string(device(r))))
			}
			return slices.Values(site.RemoteMACsOf(s, device(r))), nil
		},
		one: func(r *http.Request, s store.Snapshot, id string) (*entry, error) {
			return site.RemoteMAC(s, device(r), clip(id))
		},
	}
	for i := range r.attrs {
		if r.attrs[i].name == "tenant_id" || r.attrs[i].name == "project_id" {
			r.attrs[i].get = nil
		}
	}
	return r
}

func segmentation() value[model.VNI] {
	number := openapi.Between(1, model.MaxVNI)
	return value[model.VNI]{openapi.Any(number, pattern(integerPattern)), number, func(v any) (model.VNI, error) {
		n, err := toInt(v)
		switch {
		case err != nil:
			return 0, err
		case n < 0:
			return 0, reasonf("'%s' should be non-negative", text(v))
		case n == 0 || n > model.MaxVNI:
			return 0, reasonf("'%s' is not in range 1 to %d", text(v), model.MaxVNI)
		}
		return model.VNI(n), nil
	}}
}
