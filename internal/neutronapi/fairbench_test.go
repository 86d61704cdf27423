package neutronapi_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// BenchmarkCreateBesideAnother tells how much longer a create takes beside another
// project's twelve connections than alone, in the same minute: the medians and their
// ratio.
func BenchmarkCreateBesideAnother(b *testing.B) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := etcdstore.Open(b.Context(), etcdstore.Options{DataDir: b.TempDir(), Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	h := neutronapi.New(site.New(st, site.Options{Logger: log}), neutronapi.Options{Logger: log, Authenticator: everyCaller()})
	call := func(token, method, path, body string) int {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Auth-Token", token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	create := func() time.Duration {
		begin := time.Now()
		if status := call("b", "POST", "/v2.0/networks", `{"network":{}}`); status != 201 {
			b.Fatal(status)
		}
		return time.Since(begin)
	}
	median := func(n int) time.Duration {
		var all []time.Duration
		for range n {
			all = append(all, create())
		}
		slices.Sort(all)
		return all[n/2]
	}
	for _, c := range []struct{ name, method, path, body string }{
		{"creates", "POST", "/v2.0/networks", `{"network":{}}`},
		{"bulks of 100", "POST", "/v2.0/networks", `{"networks":[` + repeated(`{}`, 100) + `]}`},
		{"bulks of 1000", "POST", "/v2.0/networks", `{"networks":[` + repeated(`{}`, 1000) + `]}`},
		{"lists", "GET", "/v2.0/networks", ""},
		{"sorted lists", "GET", "/v2.0/networks?sort_key=name&sort_dir=asc", ""},
		{"filtered lists", "GET", "/v2.0/networks?name=none", ""},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) {
			const samples = 20
			alone := median(samples)
			var wg sync.WaitGroup
			var stop atomic.Bool
			var done atomic.Int64
			for range 12 {
				wg.Go(func() {
					for !stop.Load() {
						call("a", c.method, c.path, c.body)
						done.Add(1)
					}
				})
			}
			var beside time.Duration
			for b.Loop() {
				beside = median(samples)
			}
			stop.Store(true)
			wg.Wait()
			b.ReportMetric(float64(alone.Microseconds())/1000, "ms-alone")
			b.ReportMetric(float64(beside.Microseconds())/1000, "ms-beside")
			b.ReportMetric(float64(beside)/float64(alone), "ratio")
			b.ReportMetric(float64(done.Load()), "others")
			b.ReportMetric(0, "ns/op")
		})
	}
}
