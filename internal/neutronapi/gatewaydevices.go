package neutronapi

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
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
	null := func(store.Snapshot, *device) any { return nil }
	return &resource[in, device]{
		name: "gateway_device", plural: "gateway_devices", path: "/v2.0/gw/gateway_devices", kind: store.GatewayDevices,
		attrs: []attribute[in, device]{
			readOnly[in]("id", func(_ store.Snapshot, d *device) any { return string(d.ID) }),
			nameAttr(stdIn, std),
			{name: "type", post: true, always: true, set: setDeviceType,
				get: func(_ store.Snapshot, d *device) any { return string(d.Type) }},
			projectAttr("tenant_id", project, owner),
			projectAttr("project_id", project, owner),
			{name: "resource_id", post: true,
				set: func(i *in, v any) error {
					s, err := toString(v)
					i.RouterID = model.RouterID(s)
					return err
				},
				get: func(_ store.Snapshot, d *device) any { return string(d.RouterID) }},
			{name: "tunnel_ips", post: true, put: true, set: setTunnelIPs,
				get: func(_ store.Snapshot, d *device) any { return []string{d.TunnelIP.String()} }},
			{name: "management_ip", post: true, get: null, set: func(i *in, v any) error {
				if v == nil {
					return nil
				}
				i.ManagementIP = true
				_, err := toAddr(v)
				return err
			}},
			{name: "management_port", post: true, get: null, set: func(i *in, v any) error {
				if v == nil {
					return nil
				}
				i.ManagementPort = true
				n, err := toInt(v)
				if err == nil && (n < 0 || n > 65535) {
					err = reasonf("'%s' is not a valid port number", text(v))
				}
				return err
			}},
			{name: "management_protocol", post: true, get: null, set: func(i *in, v any) error {
				if v == nil || v == "" {
					return nil
				}
				i.ManagementProtocol = true
				if v != "ovsdb" {
					return reasonf("%s is not in valid_values", text(v))
				}
				return nil
			}},
			readOnly[in]("remote_mac_entries", func(s store.Snapshot, d *device) any {
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
		id:         func(d *device) string { return string(d.ID) },
		revision:   func(d *device) int64 { return d.Revision },
		revisionIn: func(i *in) int64 { return i.Revision },
		notFound:   site.GatewayDeviceNotFound,
		create:     one(a.site.CreateGatewayDevice),
		update:     a.site.UpdateGatewayDevice,
		remove: func(ctx context.Context, _ *http.Request, id string, guard func(*device) error) error {
			return a.site.DeleteGatewayDevice(ctx, id, guard)
		},
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

func setDeviceType(i *site.GatewayDeviceInput, v any) error {
	if v == nil {
		v = "hw_vtep" // the extension's default
	}
	s, ok := v.(string)
	if !ok || !slices.Contains(site.GatewayDeviceTypes(), s) {
		return reasonf("%s is not in valid_values", text(v))
	}
	i.Type = model.GatewayDeviceType(s)
	return nil
}

func setTunnelIPs(i *site.GatewayDeviceInput, v any) error {
	i.TunnelIPs = nil
	if v == nil || v == "" {
		return nil
	}
	l, err := toList(v)
	if err != nil {
		return err
	}
	ips := make([]netip.Addr, 0, len(l))
	for _, x := range l {
		ip, err := toAddr(x)
		if err != nil {
			return err
		}
		ips = append(ips, ip)
	}
	i.TunnelIPs = ips
	return nil
}

func remoteMACs(a *API) *resource[model.RemoteMACEntry, model.RemoteMACEntry] {
	type entry = model.RemoteMACEntry
	device := func(r *http.Request) model.GatewayDeviceID { return model.GatewayDeviceID(r.PathValue("device")) }
	unused := func(*entry) *model.ProjectID { return new(model.ProjectID) } // an entry belongs to its device's owner
	r := &resource[entry, entry]{
		name: "remote_mac_entry", plural: "remote_mac_entries",
		path: "/v2.0/gw/gateway_devices/{device}/remote_mac_entries", kind: store.RemoteMACEntries,
		attrs: []attribute[entry, entry]{
			readOnly[entry]("id", func(_ store.Snapshot, e *entry) any { return string(e.ID) }),
			{name: "mac_address", post: true, required: true,
				set: func(e *entry, v any) (err error) {
					e.MAC, err = toMAC(v)
					return err
				},
				get: func(_ store.Snapshot, e *entry) any { return e.MAC.String() },
				match: func(_ store.Snapshot, e *entry, want []string) bool {
					return slices.ContainsFunc(want, func(w string) bool {
						m, err := model.ParseMAC(w)
						return err == nil && m == e.MAC.MAC
					})
				}},
			{name: "vtep_address", post: true, always: true,
				set: func(e *entry, v any) (err error) {
					e.VTEPAddress, err = toAddr(v)
					return err
				},
				get: func(_ store.Snapshot, e *entry) any { return e.VTEPAddress.String() }},
			{name: "segmentation_id", post: true, required: true, set: setSegmentation,
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
		all: func(r *http.Request, s store.Snapshot) (iter.Seq[*entry], error) {
			if store.Get[model.GatewayDevice](s, store.GatewayDevices, string(device(r))) == nil {
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

func setSegmentation(e *model.RemoteMACEntry, v any) error {
	n, err := toInt(v)
	switch {
	case err != nil:
		return err
	case n < 0:
		return reasonf("'%s' should be non-negative", text(v))
	case n == 0 || n > model.MaxVNI:
		return reasonf("'%s' is not in range 1 to %d", text(v), model.MaxVNI)
	}
	e.VNI = model.VNI(n)
	return nil
}
