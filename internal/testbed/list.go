package testbed

// Summary is a lab in a list of labs. Nothing is asked over the network.
type Summary struct {
	Lab   string   `json:"lab"`
	Sites []string `json:"sites"`
	Hosts []string `json:"hosts"`
	// Running and Servers are how many of the lab's controllers, etcd members and agents run, and how
	// many there are.
	Running   int      `json:"running"`
	Servers   int      `json:"servers"`
	Workloads []string `json:"workloads"`
	Cuts      []Cut    `json:"cuts"`
	Directory string   `json:"directory"`
	// Error says why nothing more is known of a lab.
	Error string `json:"error,omitempty"`
}

// List tells of every lab of this machine, by name.
func List() ([]Summary, error) {
	names, err := Labs()
	if err != nil {
		return nil, err
	}
	out := []Summary{}
	for _, name := range names {
		out = append(out, summary(name))
	}
	return out, nil
}

func summary(name string) Summary {
	s := Summary{Lab: name, Sites: []string{}, Hosts: []string{}, Workloads: []string{}, Cuts: []Cut{}, Directory: runDir(name)}
	st, err := loadState(name)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	for _, site := range st.File.Sites {
		s.Sites = append(s.Sites, site.Name)
		for _, h := range site.Hosts {
			s.Hosts = append(s.Hosts, h.Name)
		}
	}
	for _, server := range (&Lab{st: st}).servers() {
		s.Servers++
		if st.process(server.process).alive() {
			s.Running++
		}
	}
	s.Cuts = append(s.Cuts, st.Cuts...)
	for _, w := range st.Workloads {
		s.Workloads = append(s.Workloads, w.Name)
	}
	return s
}
