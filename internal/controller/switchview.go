package controller

import (
	"net/http"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// switches answers how it stands with the site's switches.
type switches struct{ rules *site.Site }

// switchView is a switch's state with the MACs behind it.
type switchView struct {
	Device    model.GatewayDeviceID `json:"gateway_device_id"`
	Driver    string                `json:"driver"`
	Connected bool                  `json:"connected"`
	InSync    bool                  `json:"in_sync"`
	Error     string                `json:"error"`
	Problems  []string              `json:"problems"`
	ChangedAt string                `json:"changed_at"`
	Learned   []learnedMAC          `json:"learned_macs"`
}

// learnedMAC is a MAC behind a switch; Silent, the switch has forgotten it since.
type learnedMAC struct {
	MAC     string          `json:"mac_address"`
	VNI     int             `json:"segmentation_id"`
	Network model.NetworkID `json:"network_id"`
	Silent  bool            `json:"silent"`
}

// retiredSwitch is the switch of a deleted gateway device, which may still have what
// was made for the device.
type retiredSwitch struct {
	ID           model.GatewayDeviceID `json:"id"` // of the device
	Name         string                `json:"name"`
	ManagementIP string                `json:"management_ip"`
	Port         int                   `json:"management_port"`
	Driver       string                `json:"driver"`
	Connected    bool                  `json:"connected"`
	Error        string                `json:"error"`
	ChangedAt    string                `json:"changed_at"`
}

func (s switches) extra() []neutronapi.Extra {
	return []neutronapi.Extra{s.show(), {
		Method: http.MethodGet, Path: "/v2.0/gw/retired_switches", Name: "list_retired_switches",
		Summary: "List the switches of deleted gateway devices that are not known to be clean.",
		Reply:   keyed("retired_switches", openapi.Written[[]retiredSwitch]()),
		Answer: func(r *http.Request) (any, error) {
			snap, err := s.rules.View(r.Context())
			if err != nil {
				return nil, err
			}
			out := []retiredSwitch{}
			for _, st := range site.RetiredSwitches(snap) {
				out = append(out, viewRetired(st))
			}
			return map[string]any{"retired_switches": out}, nil
		},
	}, {
		Method: http.MethodDelete, Path: "/v2.0/gw/retired_switches/{id}", Name: "forget_retired_switch",
		Summary: "Stop trying to clean the switch of a deleted gateway device: it is not coming back.",
		Reply:   keyed("retired_switch", openapi.Written[retiredSwitch]()),
		Answer: func(r *http.Request) (any, error) {
			st, err := s.rules.ForgetSwitch(r.Context(), model.GatewayDeviceID(r.PathValue("id")))
			if err != nil {
				return nil, err
			}
			return map[string]any{"retired_switch": viewRetired(st)}, nil
		},
	}}
}

func viewRetired(st *model.SwitchState) retiredSwitch {
	m := st.Retired.Management
	return retiredSwitch{
		ID: st.DeviceID, Name: st.Retired.Name, ManagementIP: m.IP.String(), Port: int(m.Port), Driver: st.Driver,
		Connected: st.Connected, Error: st.Error, ChangedAt: st.ChangedAt.UTC().Format(time.RFC3339),
	}
}

func (s switches) show() neutronapi.Extra {
	return neutronapi.Extra{
		Method: http.MethodGet, Path: "/v2.0/gw/gateway_devices/{id}/switch", Name: "show_switch",
		Summary: "Say how it stands with the switch of a gateway device of type hw_vtep, and which MACs are behind it.",
		Reply:   keyed("switch", openapi.Written[switchView]()),
		Answer: func(r *http.Request) (any, error) {
			snap, err := s.rules.View(r.Context())
			if err != nil {
				return nil, err
			}
			v, err := viewSwitch(snap, r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return map[string]any{"switch": v}, nil
		},
	}
}

func viewSwitch(r store.Reader, id string) (*switchView, error) {
	d := store.Get(r, store.GatewayDevices, id)
	if d == nil {
		return nil, site.GatewayDeviceNotFound(id)
	}
	if d.Type != model.HWVTEP {
		return nil, badRequest("gateway device %s is of type %s: it is no switch", id, d.Type)
	}
	v := &switchView{Device: d.ID, Error: "no controller has tried to reach it yet", Problems: []string{}, Learned: []learnedMAC{}}
	if st := site.SwitchStateOf(r, d.ID); st != nil {
		v.Driver, v.Connected, v.InSync, v.Error = st.Driver, st.Connected, st.InSync, st.Error
		v.Problems = append(v.Problems, st.Problems...)
		v.ChangedAt = st.ChangedAt.UTC().Format(time.RFC3339)
	}
	for _, s := range site.SwitchSegments(r, d) {
		l := site.LearnedOf(r, s.Connection)
		if l == nil {
			continue
		}
		for _, m := range l.MACs {
			v.Learned = append(v.Learned, learnedMAC{m.String(), int(s.VNI), s.Network, false})
		}
		for _, m := range l.Silent {
			v.Learned = append(v.Learned, learnedMAC{m.String(), int(s.VNI), s.Network, true})
		}
	}
	return v, nil
}
