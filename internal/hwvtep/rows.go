package hwvtep

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// The tables and columns that are looked at: those that every version of the
// schema has.
const database = "hardware_vtep"

const (
	tablePhysicalSwitch = "Physical_Switch"
	tablePhysicalPort   = "Physical_Port"
	tableLogicalSwitch  = "Logical_Switch"
	tableLocator        = "Physical_Locator"
	tableLocatorSet     = "Physical_Locator_Set"
	tableUcastRemote    = "Ucast_Macs_Remote"
	tableMcastRemote    = "Mcast_Macs_Remote"
	tableUcastLocal     = "Ucast_Macs_Local"
	tableMcastLocal     = "Mcast_Macs_Local"
)

func monitored() map[string][]string {
	return map[string][]string{
		tablePhysicalSwitch: {"name", "tunnel_ips", "ports"},
		tablePhysicalPort:   {"name", "vlan_bindings"},
		tableLogicalSwitch:  {"name", "description", "tunnel_key"},
		tableLocator:        {"encapsulation_type", "dst_ip"},
		tableLocatorSet:     {"locators"},
		tableUcastRemote:    {"MAC", "logical_switch", "locator"},
		tableMcastRemote:    {"MAC", "logical_switch", "locator_set"},
		tableUcastLocal:     {"MAC", "logical_switch"},
	}
}

// optional are columns that only later versions of the schema have.
func optional() map[string][]string {
	return map[string][]string{
		tableLogicalSwitch: {"replication_mode"},
		tableLocator:       {"tunnel_key"},
	}
}

// sourceNode is the replication_mode in which the switch itself sends what it
// floods to every VTEP; without it some send to the first one alone.
const sourceNode = "source_node"

// encapsulation is the only value of encapsulation_type.
const encapsulation = "vxlan_over_ipv4"

// uuid is a row's.
type uuid string

type physicalSwitch struct {
	name      string
	tunnelIPs []string
	ports     []uuid
}

type physicalPort struct {
	name     string
	bindings map[uint16]uuid // VLAN → logical switch
}

type logicalSwitch struct {
	name, description string
	key               int64 // tunnel_key; 0: none
	// replication is the replication_mode, "" for none, and replicates tells
	// whether the schema has one.
	replication string
	replicates  bool
}

type locator struct {
	encapsulation string
	dst           netip.Addr // zero where the text is no address
	keyed         bool       // has a tunnel_key of its own: not for us
}

// macRow is a row of the four tables of MACs. Where it leads is a locator or a set
// of them.
type macRow struct {
	mac  string
	ls   uuid
	into uuid
}

// have is what is known of a switch's database.
type have struct {
	switches    map[uuid]physicalSwitch
	ports       map[uuid]physicalPort
	logical     map[uuid]logicalSwitch
	locators    map[uuid]locator
	sets        map[uuid][]uuid
	ucastRemote map[uuid]macRow
	mcastRemote map[uuid]macRow
	ucastLocal  map[uuid]macRow
	replicates  bool // the schema has replication_mode
}

func newHave(replicates bool) *have {
	return &have{
		replicates: replicates,
		switches:   map[uuid]physicalSwitch{}, ports: map[uuid]physicalPort{}, logical: map[uuid]logicalSwitch{},
		locators: map[uuid]locator{}, sets: map[uuid][]uuid{}, ucastRemote: map[uuid]macRow{},
		mcastRemote: map[uuid]macRow{}, ucastLocal: map[uuid]macRow{},
	}
}

// columns are a row as it comes over the wire.
type columns map[string]json.RawMessage

// apply takes table updates in (RFC 7047 §4.1.6): a row's "new" has all its
// columns; without one the row is gone.
func (h *have) apply(updates json.RawMessage) error {
	var tables map[string]map[string]struct {
		New *columns `json:"new"`
	}
	if err := json.Unmarshal(updates, &tables); err != nil {
		return fmt.Errorf("table updates: %w", err)
	}
	for table, rows := range tables {
		for id, row := range rows {
			if err := h.set(table, uuid(id), row.New); err != nil {
				return fmt.Errorf("row %.40s of %.40s: %w", id, table, err)
			}
		}
	}
	return nil
}

func (h *have) set(table string, id uuid, c *columns) error {
	switch table {
	case tablePhysicalSwitch:
		return put(h.switches, id, c, readPhysicalSwitch)
	case tablePhysicalPort:
		return put(h.ports, id, c, readPhysicalPort)
	case tableLogicalSwitch:
		return put(h.logical, id, c, readLogicalSwitch)
	case tableLocator:
		return put(h.locators, id, c, readLocator)
	case tableLocatorSet:
		return put(h.sets, id, c, func(c columns) ([]uuid, error) { return readUUIDs(c["locators"]) })
	case tableUcastRemote:
		return put(h.ucastRemote, id, c, func(c columns) (macRow, error) { return readMAC(c, "locator") })
	case tableMcastRemote:
		return put(h.mcastRemote, id, c, func(c columns) (macRow, error) { return readMAC(c, "locator_set") })
	case tableUcastLocal:
		return put(h.ucastLocal, id, c, func(c columns) (macRow, error) { return readMAC(c, "") })
	}
	return nil // not asked for
}

func put[T any](m map[uuid]T, id uuid, c *columns, read func(columns) (T, error)) error {
	if c == nil {
		delete(m, id)
		return nil
	}
	v, err := read(*c)
	if err == nil {
		m[id] = v
	}
	return err
}

func readPhysicalSwitch(c columns) (s physicalSwitch, err error) {
	if s.name, err = readText(c["name"]); err != nil {
		return s, err
	}
	if s.tunnelIPs, err = readSet(c["tunnel_ips"], readText); err != nil {
		return s, err
	}
	s.ports, err = readUUIDs(c["ports"])
	return s, err
}

func readPhysicalPort(c columns) (p physicalPort, err error) {
	if p.name, err = readText(c["name"]); err != nil {
		return p, err
	}
	p.bindings, err = readBindings(c["vlan_bindings"])
	return p, err
}

func readLogicalSwitch(c columns) (l logicalSwitch, err error) {
	if l.name, err = readText(c["name"]); err != nil {
		return l, err
	}
	if l.description, err = readText(c["description"]); err != nil {
		return l, err
	}
	keys, err := readSet(c["tunnel_key"], readInt)
	if err != nil {
		return l, err
	}
	if len(keys) > 0 {
		l.key = keys[0]
	}
	if c["replication_mode"] == nil {
		return l, nil
	}
	l.replicates = true
	modes, err := readSet(c["replication_mode"], readText)
	if len(modes) > 0 {
		l.replication = modes[0]
	}
	return l, err
}

func readLocator(c columns) (l locator, err error) {
	if l.encapsulation, err = readText(c["encapsulation_type"]); err != nil {
		return l, err
	}
	dst, err := readText(c["dst_ip"])
	if err != nil {
		return l, err
	}
	l.dst, _ = netip.ParseAddr(dst)
	if c["tunnel_key"] == nil {
		return l, nil
	}
	keys, err := readSet(c["tunnel_key"], readInt)
	l.keyed = len(keys) > 0
	return l, err
}

func readMAC(c columns, into string) (m macRow, err error) {
	if m.mac, err = readText(c["MAC"]); err != nil {
		return m, err
	}
	if m.ls, err = readUUID(c["logical_switch"]); err != nil {
		return m, err
	}
	if into != "" {
		m.into, err = readUUID(c[into])
	}
	return m, err
}

func readText(b json.RawMessage) (s string, err error) {
	err = json.Unmarshal(b, &s)
	return s, err
}

func readInt(b json.RawMessage) (n int64, err error) {
	err = json.Unmarshal(b, &n)
	return n, err
}

// pair reads an array of two whose first is a text: ["uuid", …], ["set", …] and
// ["map", …] of RFC 7047 §5.1.
func pair(b json.RawMessage) (kind string, value json.RawMessage, err error) {
	var l []json.RawMessage
	if err := json.Unmarshal(b, &l); err != nil {
		return "", nil, err
	}
	if len(l) != 2 {
		return "", nil, fmt.Errorf("%d elements where two are due", len(l))
	}
	kind, err = readText(l[0])
	return kind, l[1], err
}

func readUUID(b json.RawMessage) (uuid, error) {
	kind, v, err := pair(b)
	if err != nil {
		return "", err
	}
	if kind != "uuid" {
		return "", fmt.Errorf("%.20q where a uuid is due", kind)
	}
	s, err := readText(v)
	return uuid(s), err
}

// readSet reads a set; one of a single element may stand without its brackets.
func readSet[T any](b json.RawMessage, one func(json.RawMessage) (T, error)) ([]T, error) {
	kind, v, err := pair(b)
	if err != nil || kind != "set" {
		x, err := one(b)
		if err != nil {
			return nil, err
		}
		return []T{x}, nil
	}
	var l []json.RawMessage
	if err := json.Unmarshal(v, &l); err != nil {
		return nil, err
	}
	out := make([]T, 0, len(l))
	for _, e := range l {
		x, err := one(e)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func readUUIDs(b json.RawMessage) ([]uuid, error) { return readSet(b, readUUID) }

// readBindings reads a map of VLANs to logical switches.
func readBindings(b json.RawMessage) (map[uint16]uuid, error) {
	kind, v, err := pair(b)
	if err != nil {
		return nil, err
	}
	if kind != "map" {
		return nil, fmt.Errorf("%.20q where a map is due", kind)
	}
	var l [][]json.RawMessage
	if err := json.Unmarshal(v, &l); err != nil {
		return nil, err
	}
	out := make(map[uint16]uuid, len(l))
	for _, e := range l {
		if len(e) != 2 {
			return nil, fmt.Errorf("%d elements where key and value are due", len(e))
		}
		var vlan uint16
		if err := json.Unmarshal(e[0], &vlan); err != nil {
			return nil, err
		}
		if out[vlan], err = readUUID(e[1]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// learned are the MACs that the switch reports behind its own ports, by logical
// switch; text that is no unicast MAC is passed over.
func (h *have) learned() map[uuid]map[model.MAC]bool {
	out := map[uuid]map[model.MAC]bool{}
	for _, r := range h.ucastLocal {
		m, err := model.ParseMAC(r.mac)
		if err != nil || m.IsGroup() || m.IsZero() {
			continue
		}
		if out[r.ls] == nil {
			out[r.ls] = map[model.MAC]bool{}
		}
		out[r.ls][m] = true
	}
	return out
}
