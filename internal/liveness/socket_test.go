package liveness

import "testing"

// FuzzEchoed: of what anybody sends, an echo reply alone that has this process's identifier and sign is one.
func FuzzEchoed(f *testing.F) {
	var b [echoLen]byte
	echo(&b, 7, 1, 42)
	b[0] = 0 // a reply
	f.Add(append([]byte{0x45, 19: 0}, b[:]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		id, ok := echoed(in, 7)
		if !ok {
			return
		}
		var again [echoLen]byte
		echo(&again, 7, 0, id)
		ihl := int(in[0]&0xf) * 4
		if got := in[ihl:]; got[0] != 0 || string(got[4:6]) != string(again[4:6]) || string(got[8:echoLen]) != string(again[8:]) {
			t.Fatalf("% x is taken for the reply to %d", in, id)
		}
	})
}
