package packet

// Field is one header field for people.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Layer is one decoded header for people.
type Layer struct {
	Name   string  `json:"name"` // Ethernet, ARP, IPv4, IPv6, UDP, TCP, ICMP, VXLAN, Data
	Fields []Field `json:"fields"`
}

// Field returns the value of the field called name, "" if there is none.
func (l Layer) Field(name string) string {
	for _, f := range l.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
