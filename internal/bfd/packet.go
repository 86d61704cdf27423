// Package bfd is Bidirectional Forwarding Detection without its sockets: the control packet (RFC 5880 §4),
// the session of asynchronous mode (§6), and both ends of seamless BFD (RFC 7880). All of it is a function of
// packets and times that the caller brings, and none of it allocates memory once a session is there.
package bfd

import (
	"crypto/sha1" //nolint:gosec // RFC 5880 §6.7.4 knows no other digest
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// UDP ports of BFD (RFC 5881 §4, RFC 5883 §5, RFC 7881 §2).
const (
	SingleHopPort = 3784
	MultihopPort  = 4784
	SeamlessPort  = 7784
)

// TTL is that of single-hop packets, and what those of the other side must come with (RFC 5881 §5).
const TTL = 255

// Lengths of packets, bytes.
const (
	headerLen = 24
	authLen   = 28 // of an authentication section with SHA1
	MaxLen    = headerLen + authLen
	version   = 1
)

// State is a session's (RFC 5880 §4.1).
type State uint8

// States.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{"admin down", "down", "init", "up"}

func (s State) String() string { return stateNames[s&3] }

// Diag is why a session left Up last (RFC 5880 §4.1).
type Diag uint8

// Diagnostics that this package sets.
const (
	NoDiag             Diag = 0
	DetectionExpired   Diag = 1
	NeighborDown       Diag = 3
	AdministrativeDown Diag = 7
)

var diagNames = [...]string{
	"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
	"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
}

func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// Packet is a control packet. Intervals are what the wire can say: microseconds in 32 bits.
type Packet struct {
	Diag                                         Diag
	State                                        State
	Poll, Final, ControlPlaneIndependent, Demand bool
	DetectMult                                   uint8
	MyDiscr, YourDiscr                           uint32
	DesiredMinTx, RequiredMinRx, RequiredMinEcho time.Duration
	// Auth is the type of the authentication section; 0: it has none.
	Auth  AuthType
	KeyID uint8
	Seq   uint32
}

// AuthType is a type of authentication (RFC 5880 §4.1).
type AuthType uint8

// Types of authentication that are known here.
const (
	NoAuth              AuthType = 0
	KeyedSHA1           AuthType = 4
	MeticulousKeyedSHA1 AuthType = 5
)

// Key authenticates the packets of a session.
type Key struct {
	Type   AuthType
	ID     uint8
	secret [sha1.Size]byte
}

// MaxSecret is how long a secret may be, bytes (RFC 5880 §4.4).
const MaxSecret = sha1.Size

// NewKey makes one of a secret of 1 to MaxSecret bytes; a shorter one is filled up with zeros.
func NewKey(t AuthType, id uint8, secret []byte) (*Key, error) {
	if t != KeyedSHA1 && t != MeticulousKeyedSHA1 {
		return nil, fmt.Errorf("authentication type %d is neither keyed SHA1 nor meticulous keyed SHA1", t)
	}
	if len(secret) < 1 || len(secret) > MaxSecret {
		return nil, fmt.Errorf("a secret of %d bytes: it must have 1 to %d", len(secret), MaxSecret)
	}
	k := &Key{Type: t, ID: id}
	copy(k.secret[:], secret)
	return k, nil
}

// Why a packet is discarded (RFC 5880 §6.8.6).
var (
	ErrShort      = errors.New("packet too short")
	ErrVersion    = errors.New("BFD version is not 1")
	ErrLength     = errors.New("length field does not fit")
	ErrMult       = errors.New("detection multiplier is 0")
	ErrMultipoint = errors.New("multipoint bit is set")
	ErrMyDiscr    = errors.New("my discriminator is 0")
	ErrYourDiscr  = errors.New("your discriminator does not fit")
	ErrAuth       = errors.New("authentication fails")
	ErrReplayed   = errors.New("sequence number was used before")
	ErrAdminDown  = errors.New("session is administratively down")
	ErrTTL        = errors.New("TTL is not 255")
)

// Flags of the second byte.
const (
	flagPoll = 1 << (5 - iota)
	flagFinal
	flagCPI
	flagAuth
	flagDemand
	flagMultipoint
)

// Decode reads a UDP payload, and refuses what RFC 5880 §6.8.6 refuses without looking at a session. Of
// an authentication section it reads SHA1's; one of another type is ErrAuth.
func (p *Packet) Decode(b []byte) error {
	if len(b) < headerLen {
		return ErrShort
	}
	if b[0]>>5 != version {
		return ErrVersion
	}
	flags, length := b[1], int(b[3])
	auth := flags&flagAuth != 0
	switch {
	case length < headerLen || auth && length < headerLen+2 || length > len(b):
		return ErrLength
	case b[2] == 0:
		return ErrMult
	case flags&flagMultipoint != 0:
		return ErrMultipoint
	}
	be := binary.BigEndian
	*p = Packet{
		Diag: Diag(b[0] & 0x1f), State: State(flags >> 6), DetectMult: b[2],
		Poll: flags&flagPoll != 0, Final: flags&flagFinal != 0, ControlPlaneIndependent: flags&flagCPI != 0, Demand: flags&flagDemand != 0,
		MyDiscr: be.Uint32(b[4:]), YourDiscr: be.Uint32(b[8:]),
		DesiredMinTx: micros(be.Uint32(b[12:])), RequiredMinRx: micros(be.Uint32(b[16:])), RequiredMinEcho: micros(be.Uint32(b[20:])),
	}
	if p.MyDiscr == 0 {
		return ErrMyDiscr
	}
	if !auth {
		return nil
	}
	a := b[headerLen:length]
	p.Auth = AuthType(a[0])
	if p.Auth != KeyedSHA1 && p.Auth != MeticulousKeyedSHA1 || len(a) != authLen || a[1] != authLen {
		return ErrAuth
	}
	p.KeyID, p.Seq = a[2], be.Uint32(a[4:])
	return nil
}

// Encode writes the packet to b, which has room for MaxLen bytes, and returns its length. With k it has the
// authentication section, with the packet's Seq.
func (p *Packet) Encode(b []byte, k *Key) int {
	be := binary.BigEndian
	flags := uint8(p.State) << 6
	for _, f := range [...]struct {
		on  bool
		bit uint8
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.ControlPlaneIndependent, flagCPI}, {k != nil, flagAuth}, {p.Demand, flagDemand}} {
		if f.on {
			flags |= f.bit
		}
	}
	n := headerLen
	if k != nil {
		n = MaxLen
	}
	b[0], b[1], b[2], b[3] = version<<5|uint8(p.Diag)&0x1f, flags, p.DetectMult, byte(n)
	be.PutUint32(b[4:], p.MyDiscr)
	be.PutUint32(b[8:], p.YourDiscr)
	be.PutUint32(b[12:], inMicros(p.DesiredMinTx))
	be.PutUint32(b[16:], inMicros(p.RequiredMinRx))
	be.PutUint32(b[20:], inMicros(p.RequiredMinEcho))
	if k == nil {
		return n
	}
	a := b[headerLen:MaxLen]
	a[0], a[1], a[2], a[3] = uint8(k.Type), authLen, k.ID, 0
	be.PutUint32(a[4:], p.Seq)
	copy(a[8:], k.secret[:])
	sum := sha1.Sum(b[:MaxLen]) //nolint:gosec // RFC 5880 §6.7.4
	copy(a[8:], sum[:])
	return n
}

// verifies tells whether b, of which p was decoded, was made with the key.
func (k *Key) verifies(p *Packet, b []byte) bool {
	if p.Auth != k.Type || p.KeyID != k.ID || len(b) < MaxLen {
		return false
	}
	var with [MaxLen]byte
	copy(with[:], b)
	copy(with[headerLen+8:], k.secret[:])
	sum := sha1.Sum(with[:]) //nolint:gosec // RFC 5880 §6.7.4
	return subtle.ConstantTimeCompare(sum[:], b[headerLen+8:MaxLen]) == 1
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

func inMicros(d time.Duration) uint32 {
	return uint32(min(max(d/time.Microsecond, 0), 1<<32-1))
}
