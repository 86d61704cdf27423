package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Agent is what an agent knows of itself at one moment.
type Agent struct {
	Drops           map[string]uint64 // by the name of the reason; 0 is shown
	Ports           []PortTraffic
	Tunnels         []TunnelTraffic
	VLANs           []VLANTraffic
	SlowPath        map[string]uint64 // frames by what became of them
	Connected       bool
	WantedRevision  int64
	AppliedRevision int64
	PortStatus      map[string]int // number of ports by status
	Failing         map[string]bool
	Objects         []Objects
	ShutVTEPs       int // remote VTEPs that an IPsec policy of the host has shut
	Programs        []Program
	Maps            []Map
	Paths           []Path
	PathProbes      map[string]uint64 // sent, answered
}

// Objects are those of one kind that the agent keeps in their wanted state.
type Objects struct {
	Kind     string
	States   map[string]int // number of objects by state
	Failures uint64         // tries that failed, ever
	NextTry  float64        // seconds until one that failed is tried again; 0: none is, by time
}

// Path is what is known of the path to a VTEP.
type Path struct {
	TunnelIP, VTEP string
	MTU            int // bytes of an outer IP packet
	State, By      string
}

// Map is the use of a BPF map.
type Map struct {
	Name        string
	Rows, Limit int
	LeftOut     int // rows that found no room
	Bytes       uint64
}

// Traffic counts packets and bytes.
type Traffic struct {
	RxPackets, RxBytes, TxPackets, TxBytes uint64
}

// PortTraffic is a port's: rx is what the workload sent.
type PortTraffic struct {
	Port, Interface string
	Traffic
}

// TunnelTraffic is that with one remote VTEP on one VNI, of inner frames.
type TunnelTraffic struct {
	TunnelIP, VTEP string
	VNI            uint32
	Traffic
}

// VLANTraffic is that with a VLAN of an interface, of frames without the tag.
type VLANTraffic struct {
	Interface string
	VLAN      uint16
	Traffic
}

// Program is the run time of an eBPF program; both are 0 unless
// kernel.bpf_stats_enabled is set.
type Program struct {
	Name     string
	RunTime  float64 // seconds
	RunCount uint64
}

// AgentHandler serves what snapshot returns, at each scrape anew.
func AgentHandler(snapshot func() (Agent, error)) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		agentCollector{snapshot},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

type agentCollector struct{ snapshot func() (Agent, error) }

func agentDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("causeway_agent_"+name, help, labels, nil)
}

// agentDescs are made anew where they are needed: the registry compares them by content.
type agentDescs struct {
	drops, slow, connected, wanted, applied, ports, failing, shut, mapBytes, mapRows, mapLimit, mapLeft, runTime, runCount *prometheus.Desc
	portRxP, portRxB, portTxP, portTxB, tunRxP, tunRxB, tunTxP, tunTxB                                                     *prometheus.Desc
	vlanRxP, vlanRxB, vlanTxP, vlanTxB                                                                                     *prometheus.Desc
	objects, objectFailures, objectNext                                                                                    *prometheus.Desc
	pathMTU, pathState, pathProbes                                                                                         *prometheus.Desc
}

func newAgentDescs() agentDescs {
	port := []string{"port", "interface"}
	tun := []string{"tunnel_ip", "vtep", "vni"}
	vlan := []string{"interface", "vlan"}
	return agentDescs{
		pathMTU:        agentDesc("path_mtu_bytes", "Largest outer IP packet that is sent to a VTEP.", "tunnel_ip", "vtep"),
		pathState:      agentDesc("path_mtu_state", "1 for the state that the path MTU to a VTEP is in, and for who proved it.", "tunnel_ip", "vtep", "state", "by"),
		pathProbes:     agentDesc("path_mtu_probes_total", "Packets that look for path MTUs, sent and answered.", "kind"),
		drops:          agentDesc("drops_total", "Packets dropped, by reason.", "reason"),
		slow:           agentDesc("slow_path_frames_total", "Frames of the slow path, by what they were or became.", "kind"),
		connected:      agentDesc("connected", "1 while a stream from the controller is up and has brought the whole state."),
		wanted:         agentDesc("wanted_revision", "Revision of the state that the controller last sent."),
		applied:        agentDesc("applied_revision", "Revision of the state that the maps hold."),
		ports:          agentDesc("ports", "Ports of this host, by status.", "status"),
		shut:           agentDesc("shut_vteps", "Remote VTEPs that an IPsec policy of the host speaks of, and nothing is sent to or taken from."),
		failing:        agentDesc("step_failing", "1 while a step of the reconcile loop fails and is tried again.", "step"),
		objects:        agentDesc("objects", "Objects that the agent keeps in their wanted state, by kind and state.", "kind", "state"),
		objectFailures: agentDesc("object_failures_total", "Tries to bring an object to its wanted state that failed.", "kind"),
		objectNext:     agentDesc("object_next_try_seconds", "Time until an object that failed is tried again, the soonest of its kind; 0: none is, by time.", "kind"),
		mapBytes:       agentDesc("map_memory_bytes", "Memory of a BPF map.", "map"),
		mapRows:        agentDesc("map_rows", "Rows of the state in a BPF map.", "map"),
		mapLimit:       agentDesc("map_rows_limit", "The most rows a BPF map takes.", "map"),
		mapLeft:        agentDesc("map_rows_left_out", "Rows that a BPF map has no room for: their ports are in status ERROR.", "map"),
		runTime:        agentDesc("program_run_seconds_total", "Run time of an eBPF program (kernel.bpf_stats_enabled).", "program"),
		runCount:       agentDesc("program_runs_total", "Runs of an eBPF program (kernel.bpf_stats_enabled).", "program"),
		portRxP:        agentDesc("port_receive_packets_total", "Packets that the workload sent.", port...),
		portRxB:        agentDesc("port_receive_bytes_total", "Bytes that the workload sent.", port...),
		portTxP:        agentDesc("port_transmit_packets_total", "Packets delivered to the workload.", port...),
		portTxB:        agentDesc("port_transmit_bytes_total", "Bytes delivered to the workload.", port...),
		tunRxP:         agentDesc("tunnel_receive_packets_total", "Inner frames accepted from a VTEP.", tun...),
		tunRxB:         agentDesc("tunnel_receive_bytes_total", "Bytes of inner frames accepted from a VTEP.", tun...),
		tunTxP:         agentDesc("tunnel_transmit_packets_total", "Inner frames sent to a VTEP.", tun...),
		vlanRxP:        agentDesc("vlan_receive_packets_total", "Frames taken in from a VLAN.", vlan...),
		vlanRxB:        agentDesc("vlan_receive_bytes_total", "Bytes taken in from a VLAN, without tags.", vlan...),
		vlanTxP:        agentDesc("vlan_transmit_packets_total", "Frames sent to a VLAN.", vlan...),
		vlanTxB:        agentDesc("vlan_transmit_bytes_total", "Bytes sent to a VLAN, without tags.", vlan...),
		tunTxB:         agentDesc("tunnel_transmit_bytes_total", "Bytes of inner frames sent to a VTEP.", tun...),
	}
}

// Describe implements prometheus.Collector.
func (c agentCollector) Describe(ch chan<- *prometheus.Desc) {
	d := newAgentDescs()
	for _, x := range []*prometheus.Desc{d.drops, d.slow, d.connected, d.wanted, d.applied, d.ports, d.failing, d.objects, d.objectFailures, d.objectNext, d.shut, d.mapBytes, d.mapRows, d.mapLimit, d.mapLeft, d.runTime, d.runCount,
		d.portRxP, d.portRxB, d.portTxP, d.portTxB, d.tunRxP, d.tunRxB, d.tunTxP, d.tunTxB,
		d.vlanRxP, d.vlanRxB, d.vlanTxP, d.vlanTxB,
		d.pathMTU, d.pathState, d.pathProbes} {
		ch <- x
	}
}

// Collect implements prometheus.Collector.
func (c agentCollector) Collect(ch chan<- prometheus.Metric) {
	d := newAgentDescs()
	s, err := c.snapshot()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(d.drops, err)
		return
	}
	count := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v, labels...)
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for r, n := range s.Drops {
		count(d.drops, float64(n), r)
	}
	for k, n := range s.SlowPath {
		count(d.slow, float64(n), k)
	}
	var connected float64
	if s.Connected {
		connected = 1
	}
	gauge(d.connected, connected)
	gauge(d.wanted, float64(s.WantedRevision))
	gauge(d.applied, float64(s.AppliedRevision))
	for st, n := range s.PortStatus {
		gauge(d.ports, float64(n), st)
	}
	for step, failing := range s.Failing {
		v := 0.0
		if failing {
			v = 1
		}
		gauge(d.failing, v, step)
	}
	for _, o := range s.Objects {
		for state, n := range o.States {
			gauge(d.objects, float64(n), o.Kind, state)
		}
		count(d.objectFailures, float64(o.Failures), o.Kind)
		gauge(d.objectNext, o.NextTry, o.Kind)
	}
	gauge(d.shut, float64(s.ShutVTEPs))
	for _, m := range s.Maps {
		gauge(d.mapBytes, float64(m.Bytes), m.Name)
		gauge(d.mapRows, float64(m.Rows), m.Name)
		gauge(d.mapLimit, float64(m.Limit), m.Name)
		gauge(d.mapLeft, float64(m.LeftOut), m.Name)
	}
	for _, p := range s.Programs {
		count(d.runTime, p.RunTime, p.Name)
		count(d.runCount, float64(p.RunCount), p.Name)
	}
	for _, p := range s.Ports {
		count(d.portRxP, float64(p.RxPackets), p.Port, p.Interface)
		count(d.portRxB, float64(p.RxBytes), p.Port, p.Interface)
		count(d.portTxP, float64(p.TxPackets), p.Port, p.Interface)
		count(d.portTxB, float64(p.TxBytes), p.Port, p.Interface)
	}
	for _, t := range s.Tunnels {
		vni := strconv.FormatUint(uint64(t.VNI), 10)
		count(d.tunRxP, float64(t.RxPackets), t.TunnelIP, t.VTEP, vni)
		count(d.tunRxB, float64(t.RxBytes), t.TunnelIP, t.VTEP, vni)
		count(d.tunTxP, float64(t.TxPackets), t.TunnelIP, t.VTEP, vni)
		count(d.tunTxB, float64(t.TxBytes), t.TunnelIP, t.VTEP, vni)
	}
	for _, v := range s.Paths {
		gauge(d.pathMTU, float64(v.MTU), v.TunnelIP, v.VTEP)
		gauge(d.pathState, 1, v.TunnelIP, v.VTEP, v.State, v.By)
	}
	for k, n := range s.PathProbes {
		count(d.pathProbes, float64(n), k)
	}
	for _, v := range s.VLANs {
		id := strconv.FormatUint(uint64(v.VLAN), 10)
		count(d.vlanRxP, float64(v.RxPackets), v.Interface, id)
		count(d.vlanRxB, float64(v.RxBytes), v.Interface, id)
		count(d.vlanTxP, float64(v.TxPackets), v.Interface, id)
		count(d.vlanTxB, float64(v.TxBytes), v.Interface, id)
	}
}
