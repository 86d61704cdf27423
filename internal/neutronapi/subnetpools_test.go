package neutronapi_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

func TestSubnetPool(t *testing.T) {
	s := newServer(t)
	scope := s.want(201, "POST", "/v2.0/address-scopes", `{"address_scope":{"name":"s","ip_version":"4","tenant_id":"t"}}`)
	s.wantObject(scope, `{"name":"s","ip_version":4,"shared":false,"tenant_id":"t","project_id":"t"}`, "id")
	pool := s.want(201, "POST", "/v2.0/subnetpools", fill(`{"subnetpool":{"name":"p","prefixes":["10.1.0.0/16","10.0.0.0/16","10.0.7.9/24"],"default_prefixlen":"26","address_scope_id":"$S"}}`, "$S", scope.str("id")))
	s.wantObject(pool, fill(`{"name":"p","description":"","prefixes":["10.0.0.0/15"],"ip_version":4,"min_prefixlen":"8","max_prefixlen":"32","default_prefixlen":"26",
		"default_quota":null,"address_scope_id":"$S","is_default":false,"shared":false,"tags":[],"revision_number":0,"tenant_id":"default","project_id":"default"}`,
		"$S", scope.str("id")), "id", "created_at", "updated_at")
	at := "/v2.0/subnetpools/" + pool.str("id")
	net := s.post("/v2.0/networks", `{"network":{}}`)

	// The first subnet gets the beginning of the pool.
	sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P"}}`, "$N", net, "$P", pool.str("id")))
	if sub.str("cidr") != "10.0.0.0/26" || sub.str("gateway_ip") != "10.0.0.1" || sub.str("subnetpool_id") != pool.str("id") {
		t.Errorf("subnet from a pool: %v", sub)
	}
	if pools := sub.list("allocation_pools"); fmt.Sprint(pools) != "[map[end:10.0.0.62 start:10.0.0.2]]" {
		t.Errorf("allocation pools: %v", pools)
	}
	sub = s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P","prefixlen":20}}`, "$N", net, "$P", pool.str("id")))
	if p := netip.MustParsePrefix(sub.str("cidr")); p.Bits() != 20 || !netip.MustParsePrefix("10.0.0.0/15").Overlaps(p) {
		t.Errorf("subnet of a length: %v", sub)
	}
	s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P","cidr":"10.1.255.0/24","gateway_ip":null,"allocation_pools":[{"start":"10.1.255.9","end":"10.1.255.20"}]}}`, "$N", net, "$P", pool.str("id")))
	if n := s.want(200, "GET", "/v2.0/networks/"+net, ""); n["ipv4_address_scope"] != scope.str("id") || n["ipv6_address_scope"] != nil {
		t.Errorf("address scope of the network: %v", n)
	}

	// Prefixes come and go.
	s.want(200, "PUT", at, `{"subnetpool":{"prefixes":["10.0.0.0/14"],"name":"q"}}`)
	_, out := s.call("PUT", at+"/add_prefixes", `{"prefixes":["192.168.0.0/24"]}`)
	if fmt.Sprint(out["prefixes"]) != "[10.0.0.0/14 192.168.0.0/24]" {
		t.Errorf("add_prefixes: %v", out)
	}
	_, out = s.call("PUT", at+"/remove_prefixes", `{"prefixes":["192.168.0.0/24","10.2.0.0/15","9.0.0.0/8"]}`)
	if fmt.Sprint(out["prefixes"]) != "[10.0.0.0/15]" {
		t.Errorf("remove_prefixes: %v", out)
	}
	if p := s.want(200, "GET", at, ""); p["name"] != "q" || p["revision_number"] != 3.0 {
		t.Errorf("pool after changes: %v", p)
	}
	s.want(200, "PUT", at+"/tags", `{"tags":["x"]}`)
	if _, out := s.call("GET", "/v2.0/subnetpools?tags=x&fields=name", ""); fmt.Sprint(out) != "map[subnetpools:[map[name:q]]]" {
		t.Errorf("list: %v", out)
	}
	checkSound(s)

	// What was taken comes back.
	s.want(204, "DELETE", "/v2.0/networks/"+net, "")
	s.want(204, "DELETE", at, "")
	s.want(204, "DELETE", "/v2.0/address-scopes/"+scope.str("id"), "")
	checkSound(s)
}

func TestDefaultSubnetPool(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	ask := fill(`{"subnet":{"network_id":"$N","ip_version":4,"use_default_subnetpool":"true"}}`, "$N", net)
	s.wantError(400, "BadRequest", "No default subnetpool found for IPv4", "POST", "/v2.0/subnets", ask)
	pool := s.post("/v2.0/subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"],"min_prefixlen":24}}`)
	s.want(200, "PUT", "/v2.0/subnetpools/"+pool, `{"subnetpool":{"is_default":true}}`)
	if sub := s.want(201, "POST", "/v2.0/subnets", ask); sub.str("subnetpool_id") != pool {
		t.Errorf("subnet of the default pool: %v", sub)
	}
	s.want(200, "PUT", "/v2.0/subnetpools/"+pool, `{"subnetpool":{"is_default":false}}`)
	s.post("/v2.0/subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"],"is_default":true}}`)
	checkSound(s)
}

func TestSubnetPoolErrors(t *testing.T) {
	const bad = "HTTPBadRequest"
	runErrors(t, []errorRow{
		{404, "SubnetPoolNotFound", "Subnet pool $NONE could not be found.", get + "subnetpools/$NONE", ``},
		{404, "SubnetPoolNotFound", "x", del + "subnetpools/x", ``},
		{404, "SubnetPoolNotFound", "$NONE", put + "subnetpools/$NONE/add_prefixes", `{"prefixes":["10.0.0.0/8"]}`},
		{404, "AddressScopeNotFound", "Address scope $NONE could not be found.", get + "address-scopes/$NONE", ``},
		{404, "AddressScopeNotFound", "$NONE", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"address_scope_id":"$NONE"}}`},
		{400, bad, "Required attribute 'name' not specified", post + "subnetpools", `{"subnetpool":{"prefixes":["10.0.0.0/8"]}}`},
		{400, bad, "Blank strings are not permitted", post + "subnetpools", `{"subnetpool":{"name":" ","prefixes":["10.0.0.0/8"]}}`},
		{400, bad, "Required attribute 'prefixes' not specified", post + "subnetpools", `{"subnetpool":{"name":"x"}}`},
		{400, bad, "'10.0.0.0' is not a valid IP subnet", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0"]}}`},
		{400, bad, "Cannot update read-only attribute shared", put + "subnetpools/$POOL", `{"subnetpool":{"shared":true}}`},
		{400, bad, "Attribute 'ip_version' not allowed in POST", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"ip_version":4}}`},
		{400, "EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":[]}}`},
		{400, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8","fd00::/48"]}}`},
		{400, "FeatureNotSupported", "IPv6 subnet pools", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["fd00::/48"]}}`},
		{400, "UnsupportedMinSubnetPoolPrefix", "Prefix '7' not supported in IPv4 pool.", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"min_prefixlen":7}}`},
		{400, "IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: min_prefixlen=25, max_prefixlen=24.", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"min_prefixlen":25,"max_prefixlen":24}}`},
		{400, "IllegalSubnetPoolPrefixBounds", "max_prefixlen=33, ip_version_max=32.", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"max_prefixlen":33}}`},
		{400, "IllegalSubnetPoolPrefixBounds", "default_prefixlen=19, min_prefixlen=20.", put + "subnetpools/$POOL", `{"subnetpool":{"default_prefixlen":19}}`},
		{400, "IllegalSubnetPoolPrefixBounds", "default_prefixlen=29, max_prefixlen=28.", put + "subnetpools/$POOL", `{"subnetpool":{"default_prefixlen":29}}`},
		{400, "IllegalSubnetPoolPrefixUpdate", "Existing prefixes must be a subset of the new prefixes.", put + "subnetpools/$POOL", `{"subnetpool":{"prefixes":["172.16.0.0/17"]}}`},
		{400, "IllegalSubnetPoolPrefixUpdate", "in use by a subnet", put + "subnetpools/$POOL/remove_prefixes", `{"prefixes":["172.16.0.0/17"]}`},
		{400, "InvalidInput", "Only one default may exist per IP family", put + "subnetpools/$POOL", `{"subnetpool":{"is_default":true}}`},
		{400, "InvalidInput", "Only one default may exist per IP family", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"is_default":true}}`},
		{400, "SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.", del + "subnetpools/$POOL", ``},
		{409, "AddressScopeInUse", "Unable to complete operation on address scope $SCOPE.", del + "address-scopes/$SCOPE", ``},
		{409, "AddressScopePrefixConflict", "unique prefixes", post + "subnetpools", `{"subnetpool":{"name":"x","prefixes":["172.16.128.0/24"],"address_scope_id":"$SCOPE"}}`},
		{400, bad, "Required attribute 'ip_version' not specified", post + "address-scopes", `{"address_scope":{"name":"x"}}`},
		{400, bad, "Cannot update read-only attribute ip_version", put + "address-scopes/$SCOPE", `{"address_scope":{"ip_version":4}}`},

		{404, "SubnetPoolNotFound", "$NONE", post + "subnets", `{"subnet":{"network_id":"$NOGW","ip_version":4,"subnetpool_id":"$NONE"}}`},
		{400, "BadRequest", "Bad subnets request: a subnetpool must be specified in the absence of a cidr.", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4}}`},
		{400, "BadRequest", "cidr and prefixlen must not be supplied together", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"172.16.1.0/24","prefixlen":24,"subnetpool_id":"$POOL"}}`},
		{400, "BadRequest", "cannot both be specified", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"subnetpool_id":"$POOL","use_default_subnetpool":true}}`},
		{400, "BadRequest", "allocation_pools allowed only for specific subnet requests", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","allocation_pools":[{"start":"172.16.0.5","end":"172.16.0.6"}]}}`},
		{400, "MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length 19, minimum allowed prefix is 20.", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","prefixlen":19}}`},
		{400, "MaxPrefixSubnetAllocationError", "prefix length 29, maximum allowed prefix is 28.", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","cidr":"172.16.9.0/29"}}`},
		{409, "SubnetAllocationError", "Cannot allocate requested subnet from the available set of prefixes", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","cidr":"172.16.0.0/25"}}`},
		{409, "SubnetAllocationError", "Cannot allocate requested subnet", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","cidr":"172.16.0.0/23"}}`},
		{409, "SubnetAllocationError", "Cannot allocate requested subnet", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"subnetpool_id":"$POOL","cidr":"10.9.0.0/24"}}`},
		{409, "SubnetAllocationError", "Insufficient prefix space to allocate subnet size /29", post + "subnets", `{"subnet":{"network_id":"$NEW","ip_version":4,"subnetpool_id":"$POOLQ"}}`},
		{409, "SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.", post + "subnets", `{"subnet":{"network_id":"$NEW","ip_version":4,"subnetpool_id":"$POOLQ","tenant_id":"other","prefixlen":30}}`},
		{400, "NetworkSubnetPoolAffinityError", "must be allocated from the same subnet pool", post + "subnets", `{"subnet":{"network_id":"$POOLED","ip_version":4,"cidr":"10.99.0.0/24"}}`},
		{400, "NetworkSubnetPoolAffinityError", "same subnet pool", post + "subnets", `{"subnet":{"network_id":"$NOGW","ip_version":4,"subnetpool_id":"$POOL"}}`},
		{400, bad, "Cannot update read-only attribute subnetpool_id", put + "subnets/$SUB", `{"subnet":{"subnetpool_id":"$POOL"}}`},
	})
}

// Many creators at once get ranges that do not overlap, of one pool.
func TestRacePool(t *testing.T) {
	pair := newEtcdPair(t)
	a := pair[0]
	pool := a.post("subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/22"],"default_prefixlen":26}}`)
	const most = 16
	nets := make([]string, most+4)
	for i := range nets {
		nets[i] = a.post("networks", `{"network":{}}`)
	}
	got := make(chan netip.Prefix, len(nets))
	var wg sync.WaitGroup
	for i, net := range nets {
		wg.Go(func() {
			status, out := pair[i%2].call("POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P"}}`, "$N", net, "$P", pool))
			switch {
			case status == 201:
				got <- netip.MustParsePrefix(out["cidr"].(string))
			case status != 409 || out["type"] != "SubnetAllocationError":
				t.Errorf("%d %v", status, out)
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
	close(got)
	var all []netip.Prefix
	for p := range got {
		for _, other := range all {
			if other.Overlaps(p) {
				t.Errorf("%s and %s overlap", p, other)
			}
		}
		all = append(all, p)
	}
	if len(all) != most {
		t.Errorf("%d subnets, the pool holds %d: %v", len(all), most, all)
	}
	a.checkSound()
}

// A pool does not grow beyond its bound by taking away, and can be changed afterwards.
func TestPoolInPieces(t *testing.T) {
	s := newServer(t)
	pool := s.post("/v2.0/subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"]}}`)
	path := "/v2.0/subnetpools/" + pool
	refused := false
	for i := range 10 {
		var holes []string
		for j := range 100 {
			holes = append(holes, fmt.Sprintf("10.%d.%d.1/32", i, 2*j))
		}
		body, _ := json.Marshal(object{"prefixes": holes})
		status, out := s.call("PUT", path+"/remove_prefixes", string(body))
		if e, _ := out["NeutronError"].(map[string]any); status == 400 && e["type"] == "InvalidInput" && strings.Contains(e["message"].(string), "at most 1000 prefixes") {
			refused = true
		} else if status != 200 {
			t.Fatalf("remove: %d %v", status, out)
		}
	}
	if !refused {
		t.Error("a pool has any number of pieces")
	}
	left := s.want(200, "GET", path, "").list("prefixes")
	if len(left) <= 100 || len(left) > 1000 {
		t.Errorf("%d pieces", len(left))
	}
	s.want(200, "PUT", path, `{"subnetpool":{"name":"q"}}`)
	s.want(200, "PUT", path+"/remove_prefixes", `{"prefixes":["10.0.0.0/8"]}`)
	s.want(200, "PUT", path, `{"subnetpool":{"name":"r"}}`)
	s.wantError(409, "SubnetAllocationError", "Insufficient prefix space", "POST", "/v2.0/subnets",
		fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P"}}`, "$N", s.post("/v2.0/networks", `{"network":{}}`), "$P", pool))
	s.want(200, "PUT", path+"/add_prefixes", `{"prefixes":["10.0.0.0/8"]}`)
}

// The default pool of another project is as good as none.
func TestHiddenDefaultPool(t *testing.T) {
	w := newTenancy(t)
	w.make("default", "/v2.0/subnetpools", `{"subnetpool":{"name":"d","prefixes":["10.77.0.0/16"],"is_default":true}}`)
	status, out, _ := w.callWith("POST", "/v2.0/subnets", w.fill(`{"subnet":{"network_id":"$networks","ip_version":4,"use_default_subnetpool":true}}`), token("a"))
	e, _ := out["NeutronError"].(map[string]any)
	if status != 400 || e["type"] != "BadRequest" || strings.Contains(fmt.Sprint(e["message"]), w.ids["default"]) {
		t.Errorf("a hidden default pool: %d %v", status, out)
	}
}
