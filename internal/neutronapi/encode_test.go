package neutronapi

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
)

func checkEncoded(t *testing.T, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var e encoder
	e.value(v)
	if e.err != nil || string(e.buf) != string(want) {
		t.Errorf("%#v: %s (%v), encoding/json writes %s", v, e.buf, e.err, want)
	}
}

// The encoder writes what encoding/json would.
func TestEncoder(t *testing.T) {
	ip := netip.MustParseAddr
	for _, v := range []any{
		nil, true, false, 0, -5, int64(1 << 40), 1.5, uint32(7), "", "text", `"\`, "<a&b>", "\x00\x1f\x7f", "é", "\u2028", "\xff",
		[]string(nil), []string{}, []string{"a", "<b>"}, map[string]any{"k": []int{1}}, map[string]any{}, map[string]any(nil), map[string]json.RawMessage{}, map[string]json.RawMessage{"a": json.RawMessage("1")},
		[]allowedPair(nil), []allowedPair{}, []allowedPair{{"10.0.0.0/8", "fa:16:3e:00:00:01"}, {}}, json.RawMessage(`{"a":[1]}`),
		[]model.AddrPair(nil), []model.AddrPair{{SubnetID: "s", IP: ip("10.0.0.1")}, {SubnetID: "t", IP: ip("fd00::1")}, {}},
		[]model.HostRoute{{Destination: netip.MustParsePrefix("10.0.0.0/8"), NextHop: ip("10.0.0.1")}},
		[]model.AddrRange{{Start: ip("10.0.0.1"), End: ip("10.0.0.9")}, {}},
		model.NamedMAC{Text: "6F:E4:5A:FA:8E:09"}, model.MAC{1, 2, 3, 4, 5, 0xab}, netip.Addr{}, struct{ A int }{1},
	} {
		checkEncoded(t, v)
	}
	var e encoder
	if e.value(func() {}); e.err == nil {
		t.Error("a function was written")
	}
}

func TestStampText(t *testing.T) {
	zone := time.FixedZone("", 5400)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(2026, 11, 29, 1, 2, 3, 999, zone), time.Date(12026, 1, 2, 3, 4, 5, 0, zone), time.Date(-1, 1, 2, 3, 4, 5, 0, zone)} {
		if got, want := stampText(at), at.UTC().Format("2006-01-02T15:04:05Z"); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
}

func FuzzEncoderText(f *testing.F) {
	for _, s := range []string{"", "a", `"`, "\\", "<&>", "\u2029", "\xc3\x28", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkEncoded(t, s)
		var e encoder
		var back string
		if e.value(s); json.Unmarshal(e.buf, &back) != nil || utf8.ValidString(s) && back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

// BenchmarkWriteRow is the cost of one port of a list.
func BenchmarkWriteRow(b *testing.B) {
	a := newTestAPI()
	r := ports(a)
	p := &model.Port{ID: "3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f", NetworkID: "4d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f",
		FixedIPs: []model.AddrPair{{SubnetID: "5d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f", IP: netip.MustParseAddr("10.0.0.1")}}}
	v, err := a.view(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	w, e := r.writer(a, v, nil), encoder{}
	for b.Loop() {
		e.buf = e.buf[:0]
		w.write(&e, p)
	}
}
