package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

var (
	probing = netip.MustParseAddr("192.168.0.1")
	probed  = netip.MustParseAddr("192.168.0.2")
)

func probePacket(h IPv4, m ICMP, payload []byte) []byte {
	body := m.Append(nil, payload)
	h.Protocol, h.TTL, h.Src, h.Dst = ProtoICMP, 64, probing, probed
	return append(h.Append(nil, len(body)), body...)
}

// What the programs send up by these rules is held against them by the differential
// test; this is what they mean.
func TestWhatBelongsToAProbe(t *testing.T) {
	const id = uint32(ProbeID) << 16
	request := probePacket(IPv4{DF: true}, ICMP{Type: ICMPEchoRequest, Rest: id | 7}, []byte("payload"))
	reply := bytes.Clone(request)
	TurnEchoRound(reply)
	exceeded, err := BuildICMPError(request, ICMPError{Type: ICMPTimeExceeded, Src: probed})
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.Clone(exceeded)
	foreign := probePacket(IPv4{}, ICMP{Type: ICMPEchoRequest, Rest: 0x12340007}, nil)
	foreignReply := bytes.Clone(foreign)
	TurnEchoRound(foreignReply)
	aboutForeign, err := BuildICMPError(foreign, ICMPError{Type: ICMPTimeExceeded, Src: probed})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name            string
		ip              []byte
		request, answer bool
	}{
		{"request", request, true, false},
		{"reply", reply, false, true},
		{"error about the request", exceeded, false, true},
		{"error that quotes too little", cut[:IPv4Len+ICMPLen+IPv4Len+ICMPLen-1], false, false},
		{"a fragment of a request", probePacket(IPv4{MF: true}, ICMP{Type: ICMPEchoRequest, Rest: id}, nil), false, false},
		{"another's ping", foreign, false, false},
		{"its reply", foreignReply, false, false},
		{"an error about it", aboutForeign, false, false},
		{"an error about the reply", probePacket(IPv4{}, ICMP{Type: ICMPUnreachable}, reply), false, false},
		{"a redirect about the request", probePacket(IPv4{}, ICMP{Type: 5}, request), false, false},
		{"nothing", nil, false, false},
	} {
		if got := IsProbe(c.ip); got != c.request {
			t.Errorf("%s: IsProbe %v", c.name, got)
		}
		if got := AnswersProbe(c.ip); got != c.answer {
			t.Errorf("%s: AnswersProbe %v", c.name, got)
		}
	}
}
