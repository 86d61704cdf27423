package orchestrator_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
)

// hold keeps requests back that a site has got, until their sender has gone. It
// returns what lets them be done after all.
func hold(c *cloud, method, path string) (letGo func()) {
	var mu sync.Mutex
	var held []func()
	c.interpose(func(rw http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if r.Method != method || !strings.HasSuffix(r.URL.Path, path) {
			next(rw)
			return
		}
		select {
		case <-r.Context().Done():
		case <-time.After(patience):
			c.t.Errorf("who has sent %s %s waits still after %v", method, path, patience)
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, func() { next(httptest.NewRecorder()) })
	})
	return func() {
		c.interpose(nil)
		mu.Lock()
		defer mu.Unlock()
		for _, do := range held {
			do()
		}
	}
}

// TestLate: a request to which no answer came may be done when everything has been
// taken back. What comes of it is known as the peering's, a remote MAC entry too,
// which bears no mark.
func TestLate(t *testing.T) {
	for _, tc := range []struct {
		path string
		site int // the second one's gateway is to be made
	}{
		{"/networks", 0}, {"/subnets", 0}, {"/ports", 0}, {"/routers", 1}, {"/gateway_devices", 1}, {"/l2-gateways", 0}, {"/l2-gateway-connections", 0},
		{"/remote_mac_entries", 0}, {"/remote_mac_entries", 1},
	} {
		t.Run(fmt.Sprint(tc.path[1:], " ", tc.site), func(t *testing.T) {
			t.Parallel()
			l, p := madeLab(t, 2)
			c := l.clouds[tc.site]
			before := l.states()
			o := options("")
			o.Sites.Timeout, o.Sites.Attempts = 500*time.Millisecond, 2
			letGo := hold(c, http.MethodPost, tc.path)
			_, err := orchestrator.New(o).Run(t.Context(), p, applied, orchestrator.RunOptions{})
			var step *apply.StepError
			if !errors.As(err, &step) || len(step.Late) != 1 || step.Late[0] != c.name {
				t.Fatalf("%v: late %v", err, step)
			}
			letGo()
			if _, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.o.Run(t.Context(), p, destroyed, orchestrator.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, l.states()); d != "" {
				t.Errorf("after destroy: %s", d)
			}
		})
	}
}
