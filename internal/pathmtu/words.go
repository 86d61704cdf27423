package pathmtu

import "fmt"

// Words say why the path's MTU is what it is.
func (s State) Words() string {
	switch {
	case s.Kind == Fixed:
		return "a setting says so (--path-mtu)"
	case s.Lowered:
		return fmt.Sprintf("nothing answers probes, and an ICMP error says that no more than %d bytes pass", s.MTU)
	case s.Kind == Unproven:
		return "nothing answers probes: what the link takes is sent"
	case s.Stuck:
		return "small packets are answered, those of the floor's size are not (--path-mtu-floor)"
	case s.Kind == Searching:
		return "not known yet: what the link takes is sent"
	case s.By == NoMethod:
		return "proven before the agent's restart"
	case s.Silent:
		return fmt.Sprintf("%s answered packets of this size, and answers nothing now", s.By)
	case s.Mute && s.By == Tunnel:
		return fmt.Sprintf("%s answered packets of this size, and now %s alone answers, outside the tunnel", s.By, Underlay)
	case s.Mute:
		return fmt.Sprintf("%s answers packets of this size, outside the tunnel; when last asked, no router beyond the tunnel answered", s.By)
	}
	return fmt.Sprintf("%s answers packets of this size", s.By)
}
