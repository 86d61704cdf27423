package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSequence(t *testing.T) {
	took := []time.Duration{3, 1, 2, 9, 9}
	n := 0
	do := func(context.Context) (time.Duration, bool, error) {
		n++
		return took[n-1] * time.Millisecond, n <= 3, nil
	}
	if v, err := sequence(t.Context(), 0, 3, do); err != nil || v != 2 || n != 3 {
		t.Errorf("the least: %v after %d, %v", v, n, err)
	}
	n = 0
	if v, err := sequence(t.Context(), time.Hour, 1, do); err != nil || v != 2 || n != 4 {
		t.Errorf("until nothing is left: %v after %d, %v", v, n, err)
	}
	broken := errors.New("broken")
	if _, err := sequence(t.Context(), time.Hour, 1, func(context.Context) (time.Duration, bool, error) { return 0, true, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestCrowd(t *testing.T) {
	var n atomic.Int64
	var seen [clients]atomic.Bool
	var all sync.WaitGroup // the first call of each client waits for the others'
	all.Add(clients)
	rate, err := crowd(t.Context(), 50*time.Millisecond, func(_ context.Context, client int) error {
		n.Add(1)
		if !seen[client].Swap(true) {
			all.Done()
		}
		all.Wait()
		return nil
	})
	if err != nil || rate <= 0 || rate > float64(n.Load())/0.05 {
		t.Errorf("%v a second of %d, %v", rate, n.Load(), err)
	}
	broken := errors.New("broken")
	if _, err := crowd(t.Context(), time.Hour, func(context.Context, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestConclude(t *testing.T) {
	o := &output{}
	for i := range 6 {
		f := float64(i + 1)
		o.add(test{name: "create port", unit: "ms"}, "Causeway", f)
		o.add(test{name: "create port", unit: "ms"}, "Neutron", 60*f)
		o.add(test{name: bareTransaction, unit: "ms"}, "Causeway", f/1.5)
		o.add(test{name: "create port, 8 clients", unit: "per s", more: true}, "Causeway", 90*f)
		o.add(test{name: "create port, 8 clients", unit: "per s", more: true}, "Neutron", f)
		o.add(test{name: "create port", unit: "ms"}, older, 2*f)
		o.add(test{name: "create port, 8 clients", unit: "per s", more: true}, older, 30*f)
		o.add(test{name: bareTransactions, unit: "per s", more: true}, "Causeway", 120*f)
		o.add(test{name: "list 10,000 ports", unit: "ms"}, "Causeway", 151)
	}
	o.Own = &own{Little: 1, Many: 2, CreateLittle: []float64{1, 1, 1, 1, 1, 1}, CreateMany: []float64{1.1, 2, 2, 2, 2, 2}, Resident: 1001}
	o.conclude()
	if len(o.Ratios) != 2 {
		t.Fatalf("%d ratios", len(o.Ratios))
	}
	if r := o.Ratios[0]; r.Median != 60 || r.Low != 60 || !r.Exact || !*r.Met {
		t.Errorf("create port: %+v", r)
	}
	if r := o.Ratios[1]; r.Median != 90 || *r.Met {
		t.Errorf("8 clients: %+v", r)
	}
	if len(o.Older) != 2 || o.Older[0].Median != 2 || o.Older[1].Median != 3 {
		t.Errorf("against the older version: %+v", o.Older)
	}
	if o.Bare == nil || o.Bare.Median != 0.75 {
		t.Errorf("8 clients against bare transactions: %+v", o.Bare)
	}
	met := map[string]bool{}
	for _, a := range o.Aims {
		met[a.What] = a.Met
	}
	if len(met) != 5 || !met["create port, against a bare etcd transaction"] || met["create port, 8 clients, for each"] || met["list of 10,000 ports"] || !met["low end of the growth's interval"] || met["resident with 2 ports"] {
		t.Errorf("aims: %+v", o.Aims)
	}
	var text bytes.Buffer
	if err := o.print(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"60.00", "goal 50: met", "goal 100: NOT met", "at most 150: NOT met", "at most 1.2: met", "at most 500: NOT met", "at most 1.6: met", "than the older version"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	path := filepath.Join(t.TempDir(), "out.json")
	if err := o.write(path); err != nil {
		t.Error(err)
	}
}

func TestMetric(t *testing.T) {
	text := "# HELP a_b x\na_b_more 1\na_b 2.5e+06\n"
	if v, err := readMetric(strings.NewReader(text), "a_b"); err != nil || v != 2.5e6 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := readMetric(strings.NewReader(text), "b"); err == nil {
		t.Error("a metric that is not there was found")
	}
}

func TestDisk(t *testing.T) {
	if ms, err := fdatasync(t.TempDir()); err != nil || ms <= 0 {
		t.Errorf("%v ms, %v", ms, err)
	}
}

// TestRounds runs the small tests against a server that keeps ports only, and wants
// each round to leave as many as it found.
func TestRounds(t *testing.T) {
	var ports atomic.Int64
	ports.Store(fewPorts)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			var body map[string]object
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			for kind, attrs := range body {
				if attrs["tenant_id"] != project {
					t.Errorf("%s without its project", kind)
				}
				if kind == "port" {
					ports.Add(1)
				}
				w.WriteHeader(http.StatusCreated)
				_ = json.NewEncoder(w).Encode(object{kind: object{"id": "x"}})
			}
		case r.Method == http.MethodDelete:
			if strings.Contains(r.URL.Path, "/ports/") {
				ports.Add(-1)
			}
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/v2.0/ports":
			_, _ = w.Write([]byte(strings.Repeat(`{"mac_address":""}`, int(ports.Load()))))
		}
	}))
	defer s.Close()
	x := &target{name: "a server", api: newAPI(s.Listener.Addr().String())}
	var used time.Duration
	x.cpu = func() (time.Duration, error) {
		used += time.Second
		return used, nil
	}
	out := &output{}
	if err := rounds(t.Context(), 2, time.Millisecond, []*target{x}, small, out); err != nil {
		t.Fatal(err)
	}
	if ports.Load() != fewPorts || len(x.made) != 0 {
		t.Errorf("%d ports are left, %d noted", ports.Load(), len(x.made))
	}
	for _, small := range small {
		if small.name == bareTransaction || small.name == bareTransactions {
			continue // there is no etcd here
		}
		if s := out.find(small.name, "a server"); s == nil || len(s.Values) != 2 || s.Values[0] <= 0 {
			t.Errorf("%s: %+v", small.name, s)
		}
	}
	ports.Add(1)
	if _, err := listPorts(fewPorts, 1)(t.Context(), x, 0); err == nil || !strings.Contains(err.Error(), "401 ports") {
		t.Errorf("a list with a port too many: %v", err)
	}
	if _, _, err := x.api.call(t.Context(), http.MethodPatch, "x", nil); err != nil {
		t.Error(err)
	}
}
