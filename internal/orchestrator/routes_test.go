package orchestrator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestRoutesOfOthers: where an API has no atomic extra routes, the list is read,
// changed and written; a route that somebody else adds in between stays.
func TestRoutesOfOthers(t *testing.T) {
	l, p := madeLab(t, 3)
	c := l.clouds[0]
	router := c.one("routers", object{"name": "tenant-router"})
	var mu sync.Mutex
	meddled := 0
	atomic := false
	c.interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if strings.HasSuffix(r.URL.Path, "/extensions") {
			rec := httptest.NewRecorder()
			next(rec)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(strings.Replace(rec.Body.String(), `"extraroute-atomic"`, `"something-else"`, 1)))
			return
		}
		mu.Lock()
		defer mu.Unlock()
		atomic = atomic || strings.Contains(r.URL.Path, "extraroutes")
		if r.Method == http.MethodPut && r.URL.Path == "/v2.0/routers/"+id(router) {
			if meddled++; meddled <= 2 {
				// The tenant is faster.
				now := c.one("routers", object{"id": router["id"]})
				routes := append(now["routes"].([]any), object{"destination": "172.31." + string(rune('0'+meddled)) + ".0/24", "nexthop": "10.0.0.9"})
				c.put("routers/"+id(router), "router", object{"routes": routes})
			}
		}
		next(w)
	})
	l.apply(p)
	want := map[string]bool{"172.31.1.0/24": true, "172.31.2.0/24": true, "10.0.1.0/24": true, "10.0.2.0/24": true}
	got := c.one("routers", object{"id": router["id"]})["routes"].([]any)
	for _, r := range got {
		delete(want, r.(object)["destination"].(string))
	}
	if len(want) > 0 || len(got) != 4 || meddled < 3 || atomic {
		t.Errorf("routes %v, lacking %v; %d writes, atomic %v", got, want, meddled, atomic)
	}
	l.destroy(p)
	if left := c.one("routers", object{"id": router["id"]})["routes"].([]any); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}
