package archive

import (
	"bytes"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/store"
)

var entries = []store.Entry{
	{Kind: "host", ID: "a1", Value: `{"name":"a1"}`},
	{Index: "ip", Key: "n/0a000001", Value: "p1"},
	{Index: "owned", Key: "port/x/p1", Value: ""},
	{Kind: "network", ID: "n1", Value: `{"id":"n1","name":"<&>\u2028"}`},
}

func export(t testing.TB, entries []store.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{StateFormat: 3, Revision: 7, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.Close(); n != len(entries) || err != nil {
		t.Fatal(n, err)
	}
	return b.Bytes()
}

func read(b []byte) (h Header, out []store.Entry, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return h, nil, err
	}
	for e, err := range r.Entries() {
		if err != nil {
			return r.Header, out, err
		}
		out = append(out, e)
	}
	return r.Header, out, nil
}

func TestRoundTrip(t *testing.T) {
	for _, want := range [][]store.Entry{nil, entries} {
		h, got, err := read(export(t, want))
		if err != nil || h.StateFormat != 3 || h.Revision != 7 || h.By != "test" || len(got) != len(want) {
			t.Fatal(h, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("entry %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	}
}

// TestEveryDamage: a file that lacks a byte at its end, or in which one differs, is never taken
// for whole.
func TestEveryDamage(t *testing.T) {
	whole := export(t, entries)
	for i := range whole {
		if _, _, err := read(whole[:i]); err == nil {
			t.Errorf("cut off after %d of %d bytes, it is taken for whole", i, len(whole))
		}
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if _, _, err := read(changed); err == nil {
			t.Errorf("changed at byte %d (%q), it is taken for whole", i, whole[i])
		}
	}
	if _, _, err := read(append(bytes.Clone(whole), ' ')); err == nil {
		t.Error("something after its end is passed over")
	}
}

// TestRefused: what a program has not written is refused in words.
func TestRefused(t *testing.T) {
	lines := func(s ...string) []byte { return []byte(strings.Join(s, "\n") + "\n") }
	head := strings.SplitN(string(export(t, nil)), "\n", 2)[0]
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":               {nil, "EOF"},
		"something else":      {lines(`{"networks": []}`), "does not begin as an export"},
		"a later version":     {lines(strings.Replace(head, `"version":1`, `"version":2`, 1)), "it has version 2"},
		"no state format":     {lines(strings.Replace(head, `"state_format":3`, `"state_format":0`, 1)), "state format 0"},
		"both":                {lines(head, `{"kind":"network","id":"n","index":"ip","key":"k","value":{}}`), "neither an object"},
		"neither":             {lines(head, `{"value":{}}`), "neither an object"},
		"a text as an object": {lines(head, `{"kind":"network","id":"n","value":"x"}`), "an object's value"},
		"another attribute":   {lines(head, `{"kind":"network","id":"n","value":{},"x":1}`), "unknown field"},
		"out of order":        {lines(head, `{"kind":"network","id":"n","value":{}}`, `{"kind":"network","id":"m","value":{}}`), "line 3: it is not after"},
		"twice":               {lines(head, `{"kind":"network","id":"n","value":{}}`, `{"kind":"network","id":"n","value":{}}`), "line 3: it is not after"},
		"a line too long":     {append(lines(head), bytes.Repeat([]byte("x"), maxLine+1<<17)...), "has more than"},
	} {
		if _, _, err := read(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// FuzzRead: no file makes reading panic, and what is taken for whole is written alike.
func FuzzRead(f *testing.F) {
	f.Add(export(f, nil))
	f.Add(export(f, entries))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, got, err := read(b); err == nil {
			if _, again, err := read(export(t, got)); err != nil || len(again) != len(got) {
				t.Errorf("%+v: %v", h, err)
			}
		}
	})
}
