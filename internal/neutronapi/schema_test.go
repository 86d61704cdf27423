package neutronapi

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
)

func newTestAPI() *API {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(site.New(sitetest.New(), site.Options{Logger: log}), Options{Logger: log})
}

// compiled is a schema as a validator of others reads it.
func compiled(t testing.TB, s *openapi.Schema) *jsonschema.Schema {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("value.json", doc); err != nil {
		t.Fatal(err)
	}
	out, err := c.Compile("value.json")
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return out
}

// values are tried on every attribute: sound ones of every kind, and odd ones.
var values = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `4`, `6`, `100`, `1.0`, `1e2`, `1.5`, `1e400`, `65536`, `65537`, `16777215`, `16777216`, `99999999999999999999`,
	`""`, `" "`, `"x"`, `"a/b"`, `"a b"`, `"TRUE"`, `"fALSE"`, `"0"`, `" 4 "`, `"+4"`, `"-1"`, `"100"`, `"1.0"`, `"\u0000"`,
	`"` + strings.Repeat("x", maxText) + `"`, `"` + strings.Repeat("x", maxText+1) + `"`, `"` + strings.Repeat("é", maxText) + `"`,
	`"10.0.0.1"`, `"::1"`, `"::ffff:10.0.0.1"`, `"fe80::1%eth0"`, `"10.0.0.0/8"`, `"10.0.0.1/8"`, `"fd00::/64"`, `"10.0.0.0"`,
	`"aa:bb:cc:dd:ee:ff"`, `"AA-BB-CC-DD-EE-FF"`, `"aa:bb-cc:dd:ee:ff"`, `"00:00:00:00:00:00"`,
	`"3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f"`, `"3D5A4B5E-3F0A-4C1B-9A51-6D3A1C2B4E5F"`, `"3d5a4b5e"`,
	`"uplink"`, `"normal"`, `"direct"`, `"router_vtep"`, `"hw_vtep"`, `"network_vlan"`, `"ovsdb"`,
	`[]`, `{}`, `[null]`, `[[]]`, `[{}]`, `["x"]`, `["10.0.0.1"]`, `["10.0.0.1","10.0.0.2"]`, `["10.0.0.1",null]`,
	`[{"subnet_id":null,"ip_address":"10.0.0.1"}]`, `[{"subnet_id":"3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f"}]`, `[{"ip_address":"x"}]`,
	`["10.0.0.0/8"]`, `["10.0.0.0/8","10.0.0.1"]`,
	`[{"start":"10.0.0.1","end":"10.0.0.9"}]`, `[{"start":"10.0.0.1"}]`, `[{"start":"10.0.0.1","end":"10.0.0.9","x":1}]`,
	`[{"destination":"0.0.0.0/0","nexthop":"10.0.0.7"}]`, `[{"destination":"0.0.0.0/0"}]`, `[{"destination":"0.0.0.0/0","nexthop":null}]`,
	`[{"device_id":"d"}]`, `[{"device_id":"d","interfaces":[{"name":"p0","segmentation_id":["10",11]},{"name":"p1","segmentation_id":null}]}]`, `[{"device_id":"d","segmentation_id":"5","interfaces":null}]`, `[{"device_id":"d","segmentation_id":5}]`, `[{"device_id":""}]`,
	`[{"ip_address":"10.0.0.0/8"}]`, `[{"ip_address":"10.0.0.9","mac_address":"aa:bb:cc:dd:ee:ff"}]`, `[{"mac_address":"aa:bb:cc:dd:ee:ff"}]`,
	`{"interface_name":"tap1"}`, `{"interface_name":"a/b"}`, `{"interface_name":""}`, `{"x":[1]}`,
}

// checkTable holds each attribute of a table to having schemas, and the schema of
// requests to taking whatever the attribute takes. That a schema takes more is in
// its nature: it cannot tell an address from a text of digits and dots.
func checkTable[I, M any](t *testing.T, name string, table []attribute[I, M]) {
	for i := range table {
		a := &table[i]
		if a.get != nil && a.reply() == nil {
			t.Errorf("%s: %s is in replies without a schema", name, a.name)
		}
		if (a.post || a.put) != (a.takes.set != nil) || (a.takes.set == nil) != (a.takes.takes == nil) {
			t.Errorf("%s: %s: what requests may set is read, and has a schema; nothing else is and has", name, a.name)
		}
		if a.reply() != nil {
			compiled(t, a.reply())
		}
		if a.takes.set == nil {
			continue
		}
		schema := compiled(t, a.takes.takes)
		taken := 0
		for _, v := range values {
			x, err := jsonschema.UnmarshalJSON(strings.NewReader(v)) // numbers stay json.Number
			if err != nil {
				t.Fatal(err)
			}
			if a.takes.set(new(I), x) != nil {
				continue
			}
			taken++
			if err := schema.Validate(x); err != nil {
				t.Errorf("%s: %s takes %.60s, and its schema does not: %v", name, a.name, v, err)
			}
		}
		if taken == 0 {
			t.Errorf("%s: %s takes none of the values: add one that it takes", name, a.name)
		}
		if err := schema.Validate(map[string]any{"odd": []any{}}); err == nil && !reflect.DeepEqual(a.takes.gives, openapi.Of(openapi.Map)) {
			t.Errorf("%s: the schema of %s takes anything", name, a.name)
		}
	}
}

func TestEveryAttributeHasASchema(t *testing.T) {
	a := newTestAPI()
	checkTable(t, "network", networks(a).attrs)
	checkTable(t, "subnet", subnets(a).attrs)
	checkTable(t, "port", ports(a).attrs)
	checkTable(t, "router", routers(a).attrs)
	checkTable(t, "gateway_device", gatewayDevices(a).attrs)
	checkTable(t, "remote_mac_entry", remoteMACs(a).attrs)
	checkTable(t, "l2_gateway", l2Gateways(a).attrs)
	checkTable(t, "l2_gateway_connection", connections(a).attrs)
	checkTable(t, "subnetpool", subnetPools(a).attrs)
	checkTable(t, "address_scope", addressScopes(a).attrs)
	checkTable(t, "router interface", interfaceAttrs())
	checkTable(t, "prefixes", prefixAttrs())
	checkTable(t, "quota", quotaAttrs())
}
