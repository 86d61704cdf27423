package site

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// A network that an older format marks as shared gets the policy that says so, and
// the same one if the migration begins again.
func TestNameShares(t *testing.T) {
	old := []store.Entry{
		{Kind: store.Networks.Kind(), ID: "n1", Value: `{"id":"n1","project_id":"a/b","shared":true}`},
		{Kind: store.Networks.Kind(), ID: "n2", Value: `{"id":"n2","project_id":"c"}`},
		{Kind: store.Subnets.Kind(), ID: "s", Value: `{"id":"s"}`},
	}
	got, err := nameShares(old)
	if err != nil {
		t.Fatal(err)
	}
	again, err := nameShares(append(old, got...))
	if err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("begun again: %v, %v; first %v", again, err, got)
	}
	if len(got) != 3 {
		t.Fatalf("%v", got)
	}
	var p model.RBACPolicy
	if err := json.Unmarshal([]byte(got[0].Value), &p); err != nil {
		t.Fatal(err)
	}
	want := model.RBACPolicy{ID: model.RBACPolicyID(got[0].ID), ProjectID: "a/b", ObjectType: ShareNetwork, ObjectID: "n1", Action: ActionShared, Target: model.Everybody}
	if got[0].Kind != store.RBACPolicies.Kind() || p != want {
		t.Errorf("%+v", p)
	}
	for i, e := range rbacEntries(&p) {
		if x := got[1+i]; x.Index != e.ix || x.Key != e.key || x.Value != e.value {
			t.Errorf("entry %+v, want %+v", x, e)
		}
	}
	if _, err := nameShares([]store.Entry{{Kind: store.Networks.Kind(), ID: "n", Value: "{"}}); err == nil {
		t.Error("a network that is no JSON")
	}
}
