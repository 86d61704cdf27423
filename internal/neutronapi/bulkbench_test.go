package neutronapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// BenchmarkBulk tells how much the whole controller allocates for a bulk of ports, etcd
// included, and how much of it stays, for each byte of the body; and how much it
// allocates for a body that is refused once it is decoded.
func BenchmarkBulk(b *testing.B) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := etcdstore.Open(b.Context(), etcdstore.Options{DataDir: b.TempDir(), Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	h := neutronapi.New(site.New(st, site.Options{Logger: log}), neutronapi.Options{Logger: log})
	call := func(path, body string, want int) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
		if w.Code != want {
			b.Fatal(w.Code, w.Body)
		}
		return w.Body.String()
	}
	id := func(kind, body string) string {
		var out map[string]struct{ ID string }
		if err := json.Unmarshal([]byte(call("/v2.0/"+kind+"s", body, 201)), &out); err != nil {
			b.Fatal(err)
		}
		return out[kind].ID
	}
	network := id("network", `{"network":{}}`)
	id("subnet", `{"subnet":{"ip_version":4,"cidr":"10.0.0.0/8","network_id":"`+network+`"}}`)
	port := fmt.Sprintf(`{"network_id":%q,"name":"a port of this network","admin_state_up":true}`, network)
	wrong := fmt.Sprintf(`{"network_id":%q,"name":"a port of this network","admin_state_up":"?"}`, network)
	measure := func(b *testing.B, one string, status int) {
		body := `{"ports":[` + repeated(one, 100) + `]}`
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for b.Loop() {
			call("/v2.0/ports", body, status)
		}
		runtime.ReadMemStats(&after)
		allocated := float64(after.TotalAlloc - before.TotalAlloc)
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytes := float64(b.N * len(body))
		b.ReportMetric(allocated/bytes, "allocated/body")
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/bytes, "kept/body")
	}
	b.Run("made", func(b *testing.B) { measure(b, port, 201) })
	b.Run("refused", func(b *testing.B) { measure(b, wrong, 400) })
}
