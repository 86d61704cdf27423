package neutronapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

func l2Gateways(a *API) *resource[site.L2GatewayInput, model.L2Gateway] {
	type in = site.L2GatewayInput
	type gateway = model.L2Gateway
	project := func(i *in) *model.ProjectID { return &i.ProjectID }
	projectID := projectAttr[in, gateway]("project_id", project, nil)
	projectID.get = nil // replies have tenant_id only
	return &resource[in, gateway]{
		name: "l2_gateway", plural: "l2_gateways", path: "/v2.0/l2-gateways", table: store.L2Gateways,
		attrs: []attribute[in, gateway]{
			idAttr[in](func(g *gateway) model.L2GatewayID { return g.ID }),
			nameAttr(func(i *in) *model.Standard { return &i.Standard }, func(g *gateway) *model.Standard { return &g.Standard }),
			projectAttr("tenant_id", project, func(g *gateway) model.ProjectID { return g.ProjectID }),
			projectID,
			{name: "devices", post: true, put: true, required: true, takes: with(devices(), setDevices), get: func(_ store.Snapshot, g *gateway) any {
				d := map[string]any{"device_id": string(g.DeviceID)}
				if g.VNI != 0 {
					d["segmentation_id"] = strconv.Itoa(int(g.VNI))
				}
				if len(g.Interfaces) > 0 {
					d["interfaces"] = renderInterfaces(g.Interfaces)
				}
				return []map[string]any{d}
			}},
		},
		noBulk:     "Bulk operation not supported",
		adminWords: true,
		fresh: func(r *http.Request) *in {
			return &in{L2Gateway: gateway{Standard: model.Standard{ProjectID: ownerOf(r)}}}
		},
		id:       func(g *gateway) string { return string(g.ID) },
		revision: func(g *gateway) int64 { return g.Revision },
		notFound: site.L2GatewayNotFound,
		create:   one(a.site.CreateL2Gateway),
		update:   a.site.UpdateL2Gateway,
		remove:   byID(a.site.DeleteL2Gateway),
	}
}

// l2Device is an element of an L2 gateway's devices, of which there is one.
type l2Device struct {
	device, segmentation string
	interfaces           []model.SwitchInterface
}

// devices reads the list in the order of the plugin's checks, which decides what
// a request with several faults is told.
func devices() value[l2Device] {
	text1 := &openapi.Schema{Type: openapi.Types{openapi.String}, MinLength: 1, MaxLength: maxText}
	takes, gives := closed(), closed()
	// Package site says which numbers it takes.
	takes.Properties["device_id"], takes.Properties["segmentation_id"] = text1, &openapi.Schema{}
	takes.Properties["interfaces"] = openapi.OrNull(openapi.ListOf(interfaceSchema(), -1))
	takes.Required = []string{"device_id"}
	gives.Properties["device_id"], gives.Properties["segmentation_id"] = text1, pattern(integerPattern)
	gives.Properties["interfaces"] = openapi.ListOf(interfaceSchema(), -1)
	gives.Required = []string{"device_id"}
	list := openapi.ListOf(takes, 1)
	list.MinItems = 1
	return value[l2Device]{list, openapi.ListOf(gives, 1), parseDevices}
}

func parseDevices(v any) (l2Device, error) {
	var none l2Device
	l, err := toList(v)
	if err != nil {
		return none, err
	}
	switch {
	case len(l) == 0:
		return none, reason("Cannot create a gateway with an empty device list")
	case len(l) > 1:
		return none, reason("Exactly one device must be specified to create a gateway")
	}
	d, err := toDict(l[0])
	if err != nil {
		return none, err
	}
	if id := d["device_id"]; id == nil || id == "" {
		return none, reason("Cannot create a gateway with an empty device_id")
	}
	if err := only(d, "device_id", "segmentation_id", "interfaces"); err != nil {
		return none, err
	}
	out := l2Device{}
	if out.device, err = toString(d["device_id"]); err != nil {
		return none, err
	}
	if out.interfaces, err = parseInterfaces(d["interfaces"]); err != nil {
		return none, err
	}
	switch seg := d["segmentation_id"].(type) {
	case nil:
	case string:
		out.segmentation = seg
	case json.Number:
		out.segmentation = seg.String()
	default:
		out.segmentation = text(seg) // no number: package site says so
	}
	return out, nil
}

func setDevices(i *site.L2GatewayInput, d l2Device) error {
	i.DeviceID, i.Segmentation, i.Interfaces = model.GatewayDeviceID(d.device), d.segmentation, d.interfaces
	return nil
}

func connections(a *API) *resource[site.ConnectionInput, model.L2GatewayConnection] {
	type in = site.ConnectionInput
	type conn = model.L2GatewayConnection
	project := func(i *in) *model.ProjectID { return &i.ProjectID }
	projectID := projectAttr[in, conn]("project_id", project, nil)
	projectID.get = nil // replies have tenant_id only
	return &resource[in, conn]{
		name: "l2_gateway_connection", plural: "l2_gateway_connections", path: "/v2.0/l2-gateway-connections",
		table: store.L2GatewayConnections,
		attrs: []attribute[in, conn]{
			idAttr[in](func(c *conn) model.L2GatewayConnectionID { return c.ID }),
			{name: "network_id", post: true, required: true,
				takes: into(as[model.NetworkID](label()), func(i *in) *model.NetworkID { return &i.NetworkID }),
				get:   func(_ store.Snapshot, c *conn) any { return string(c.NetworkID) }},
			{name: "l2_gateway_id", post: true,
				takes: into(as[model.L2GatewayID](nullable(label())), func(i *in) *model.L2GatewayID { return &i.L2GatewayID }),
				get:   func(_ store.Snapshot, c *conn) any { return string(c.L2GatewayID) }},
			projectAttr("tenant_id", project, func(c *conn) model.ProjectID { return c.ProjectID }),
			projectID,
			{name: "segmentation_id", post: true,
				takes: into(label(), func(i *in) *string { return &i.Segmentation }),
				get: func(_ store.Snapshot, c *conn) any {
					if c.VNI == 0 {
						return ""
					}
					return strconv.Itoa(int(c.VNI))
				}},
		},
		noBulk:     "Bulk operation not supported",
		adminWords: true,
		fresh: func(r *http.Request) *in {
			return &in{L2GatewayConnection: conn{ProjectID: ownerOf(r)}}
		},
		id:       func(c *conn) string { return string(c.ID) },
		notFound: site.L2GatewayConnectionNotFound,
		create:   one(a.site.CreateConnection),
		noUpdate: badAttribute("Cannot update an l2_gateway_connection: delete it and create another"),
		remove:   byID(a.site.DeleteConnection),
	}
}
