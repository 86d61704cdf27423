package dataplane

// Allowances of one sender for what has no setting, a second. The agent takes them; a
// Config without has no limits.
const (
	DefaultProbeRate    = 200   // packets that look like answers to a router's probes
	DefaultFragmentRate = 10000 // fragments that the slow path cuts
)

// purposes is the number of enum purpose in bpf/types.h; the constants are its values.
const (
	forError = iota
	forTooBig
	forProbe
	forARP
	forFragment
	forFlood
	purposes
)

// What a router or a network has beyond one sender of its own, and the host at least. The host's
// bursts together stay below the queue of the slow path's tap, so that no purpose
// takes another's room there.
const (
	ownerTimes            = 4
	hostTimes             = 25
	hostRate, hostBurst   = 10000, 64
	fragmentBurst         = 256
	networkTimes          = 2
	hostCut, hostCutBurst = 40000, 384
	hostFloods            = 16
)

// rates are the allowances in the row of configs.
func (c Config) rates() [purposes]bpfRates {
	punts := func(rate, burst uint32) bpfRates {
		if rate == 0 {
			return bpfRates{}
		}
		return bpfRates{
			Source: pair(rate, burst), Owner: pair(ownerTimes*rate, ownerTimes*burst),
			Host: pair(max(hostRate, hostTimes*rate), max(hostBurst, burst)),
		}
	}
	var r [purposes]bpfRates
	errors := punts(c.ICMPRate, c.ICMPBurst)
	r[forError], r[forTooBig], r[forARP] = errors, errors, errors
	r[forProbe] = punts(c.ProbeRate, c.ProbeRate/2)
	if c.FragmentRate > 0 {
		r[forFragment] = bpfRates{
			Source: pair(c.FragmentRate, fragmentBurst), Owner: pair(networkTimes*c.FragmentRate, networkTimes*fragmentBurst),
			Host: pair(max(hostCut, networkTimes*c.FragmentRate), hostCutBurst),
		}
	}
	if c.FloodRate > 0 {
		r[forFlood] = bpfRates{
			Source: pair(c.FloodRate, c.FloodBurst), Owner: pair(ownerTimes*c.FloodRate, ownerTimes*c.FloodBurst),
			Host: pair(hostFloods*c.FloodRate, hostFloods*c.FloodBurst),
		}
	}
	return r
}

// pair is an allowance.
func pair(rate, burst uint32) bpfRate {
	return bpfRate{Rate: rate, Burst: max(1, burst)}
}
