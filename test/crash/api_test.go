package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// attrs are the attributes of a resource as JSON has them.
type attrs = map[string]any

// api is a client of one controller.
type api struct {
	url  string
	http *http.Client
}

func newAPI(url string) *api {
	// A transport of its own: connections end with the controller.
	return &api{url, &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}}}
}

func (a *api) close() { a.http.CloseIdleConnections() }

// call returns the status and the body; an error where no whole answer came.
func (a *api) call(ctx context.Context, method, path string, body any) (int, attrs, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+"/v2.0/"+path, r)
	if err != nil {
		return 0, nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	var out attrs
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			return 0, nil, fmt.Errorf("%s %s: %s: %q is no JSON: %w", method, path, resp.Status, b, err)
		}
	}
	return resp.StatusCode, out, nil
}

// one is the resource in an answer.
func one(body attrs, coll string) attrs {
	o, _ := body[single(coll)].(attrs)
	return o
}

// plural is the key of a collection's list: l2_gateways of "l2-gateways".
func plural(coll string) string {
	return strings.ReplaceAll(coll[strings.LastIndexByte(coll, '/')+1:], "-", "_")
}

// single is the key of one resource of a collection.
func single(coll string) string {
	if s, ok := strings.CutSuffix(plural(coll), "ies"); ok {
		return s + "y"
	}
	return strings.TrimSuffix(plural(coll), "s")
}

func str(o attrs, key string) string {
	s, _ := o[key].(string)
	return s
}

// volatile are the attributes that change without a write to their resource, or follow from others.
var volatile = []string{"status", "subnets", "remote_mac_entries", "binding:vif_type", "revision_number", "updated_at"}

// differs tells in what got is not as want says; "" if in nothing. Attributes that
// want does not have are not looked at.
func differs(want, got attrs) string {
	for k, v := range want {
		if g, ok := got[k]; !ok || !reflect.DeepEqual(g, v) {
			return fmt.Sprintf("%s is %v, want %v", k, got[k], v)
		}
	}
	return ""
}

// object is a resource.
type object struct {
	coll  string // its collection: path and name of the list
	id    string
	attrs attrs
}

var collections = []string{
	"networks", "subnets", "ports", "routers", "gw/gateway_devices", "l2-gateways", "l2-gateway-connections",
}

// readAll lists everything.
func (a *api) readAll(ctx context.Context) (map[string]*object, error) {
	all := map[string]*object{}
	list := func(coll string) error {
		status, body, err := a.call(ctx, "GET", coll, nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("list %s: %d %v %w", coll, status, body, err)
		}
		l, _ := body[plural(coll)].([]any)
		for _, o := range l {
			o, _ := o.(attrs)
			id := str(o, "id")
			if all[id] != nil || id == "" {
				return fmt.Errorf("%s lists %q twice", coll, id)
			}
			all[id] = &object{coll, id, o}
		}
		return nil
	}
	for _, coll := range collections {
		if err := list(coll); err != nil {
			return nil, err
		}
	}
	for id, o := range all {
		if o.coll == "gw/gateway_devices" {
			if err := list(macsOf(id)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func macsOf(device string) string { return "gw/gateway_devices/" + device + "/remote_mac_entries" }
