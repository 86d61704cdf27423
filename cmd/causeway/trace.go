package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/trace"
)

// traceFlags are the packet and where it starts.
type traceFlags struct {
	port, router, device string
	to, from, fromVTEP   string
	srcMAC, dstMAC       string
	vni                  uint32
	packet               trace.Packet
	sites                []string
	showsHeaders         bool
	report               reportFlags
}

// siteTrace is the packet's way through one site.
type siteTrace struct {
	Endpoint string       `json:"endpoint"`
	Report   trace.Report `json:"trace"`
}

func newTraceCommand() *cobra.Command {
	var t traceFlags
	cmd := &cobra.Command{
		Use:   "trace --port PORT --to IP",
		Short: "Explain a packet's way through the virtual topology, without sending it",
		Long: `Explain what would become of a packet, without sending one: every hop with its
decision and reason, by the tables that the hosts are to have.

The packet comes from the workload at --port, from a router itself (--router), or out
of a tunnel from another site
(--gateway-device, --vni, --from-vtep, --src-mac, --dst-mac, --from). With
--next-site it is followed into the other sites. The exit code is 0 where the
packet arrives as far as the sites asked can tell, 1 where it is dropped.`,
		Example: `  causeway trace --port vm-port --to 10.0.1.3
  causeway trace --port vm-port --to 10.0.1.3 --proto tcp --dport 443 --next-site http://127.0.0.1:29696
  causeway trace --gateway-device gateway --vni 100 --from-vtep 200.200.0.1 \
    --src-mac 16:B7:B5:A4:57:75 --dst-mac 6F:E4:5A:FA:8E:09 --from 10.0.0.3 --to 10.0.1.3`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&t.port, "port", "", "`PORT` (name or id) whose workload sends")
	f.StringVar(&t.router, "router", "", "`ROUTER` (name or id) that sends a packet of its own")
	f.StringVar(&t.device, "gateway-device", "", "gateway `DEVICE` (name or id) that receives from a tunnel")
	f.StringVar(&t.to, "to", "", "destination `IP`")
	f.StringVar(&t.from, "from", "", "source `IP` (default: the port's)")
	f.StringVar(&t.fromVTEP, "from-vtep", "", "tunnel `IP` of the site it comes from")
	f.StringVar(&t.srcMAC, "src-mac", "", "source `MAC` inside the tunnel")
	f.StringVar(&t.dstMAC, "dst-mac", "", "destination `MAC` inside the tunnel")
	f.Uint32Var(&t.vni, "vni", 0, "`VNI` of the tunnel")
	f.StringVar(&t.packet.Proto, "proto", "icmp", "`PROTOCOL`: icmp (an echo request), tcp (a SYN) or udp")
	f.Uint16Var(&t.packet.SrcPort, "sport", 0, "source `PORT` (default 40000)")
	f.Uint16Var(&t.packet.DstPort, "dport", 0, "destination `PORT` (default 33434 for udp, 80 for tcp)")
	f.IntVar(&t.packet.Size, "size", 0, "`BYTES` of the IP packet (default 84 for icmp, 60 otherwise)")
	f.IntVar(&t.packet.TTL, "ttl", 0, "time to live, in `HOPS` (default 64)")
	f.BoolVar(&t.packet.DontFragment, "df", false, "set \"don't fragment\"")
	f.StringArrayVar(&t.sites, "next-site", nil, "root `URL` of another site's API, to follow the packet to; repeatable")
	t.report.register(cmd)
	f.BoolVar(&t.showsHeaders, "headers", false, "show the headers that were sent and that leave")
	cmd.MarkFlagsOneRequired("port", "router", "gateway-device")
	cmd.MarkFlagsMutuallyExclusive("port", "router", "gateway-device")
	mustRequire(cmd, "to")
	return siteCommand(cmd, func(ctx context.Context, c *client.Client, _ []string) error {
		path, request, err := t.question(ctx, c)
		if err != nil {
			return err
		}
		ways, err := t.walk(ctx, c, path, request)
		if err != nil {
			return err
		}
		err = t.report.write(cmd.OutOrStdout(), ways, func(w io.Writer) error { return t.print(w, ways) })
		if err == nil && !ways[len(ways)-1].Report.Delivered {
			err = cli.Exit(cli.ExitFailure)
		}
		return err
	})
}

// question makes the request that the flags ask for.
func (t *traceFlags) question(ctx context.Context, c *client.Client) (path string, request any, err error) {
	to, err := parseAddr("to", t.to)
	if err != nil {
		return "", nil, err
	}
	var from netip.Addr
	if t.from != "" {
		if from, err = parseAddr("from", t.from); err != nil {
			return "", nil, err
		}
	}
	if t.port != "" || t.router != "" {
		if t.fromVTEP != "" || t.srcMAC != "" || t.dstMAC != "" || t.vni != 0 {
			return "", nil, cli.Usagef("--from-vtep, --src-mac, --dst-mac and --vni go with --gateway-device")
		}
		if t.router != "" {
			id, err := c.Find(ctx, client.Routers, t.router)
			return client.Routers.Path + "/" + url.PathEscape(id) + "/trace", trace.RouterRequest{From: from, To: to, Packet: t.packet}, err
		}
		id, err := c.Find(ctx, client.Ports, t.port)
		return client.Ports.Path + "/" + url.PathEscape(id) + "/trace", trace.Request{From: from, To: to, Packet: t.packet}, err
	}
	q := trace.TunnelRequest{VNI: model.VNI(t.vni), From: from, To: to, Packet: t.packet}
	if !from.IsValid() || t.vni == 0 {
		return "", nil, cli.Usagef("--gateway-device needs --vni, --from-vtep, --src-mac, --dst-mac and --from")
	}
	if q.Remote, err = parseAddr("from-vtep", t.fromVTEP); err != nil {
		return "", nil, err
	}
	if q.SrcMAC, err = model.ParseMAC(t.srcMAC); err != nil {
		return "", nil, cli.Usagef("--src-mac: %w", err)
	}
	if q.DstMAC, err = model.ParseMAC(t.dstMAC); err != nil {
		return "", nil, cli.Usagef("--dst-mac: %w", err)
	}
	id, err := c.Find(ctx, client.GatewayDevices, t.device)
	return client.GatewayDevices.Path + "/" + url.PathEscape(id) + "/trace", q, err
}

func parseAddr(flag, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, cli.Usagef("--%s %q: not an IP address", flag, s)
	}
	return a, nil
}

// maxSites bounds how often a packet is followed from site to site.
const maxSites = 8

// walk asks the site where the packet starts, and then those it goes to.
func (t *traceFlags) walk(ctx context.Context, c *client.Client, path string, request any) ([]siteTrace, error) {
	var ways []siteTrace
	for range maxSites {
		var answer struct {
			Trace trace.Report `json:"trace"`
		}
		if err := c.Post(ctx, path, map[string]any{"trace": request}, &answer); err != nil {
			return nil, err
		}
		ways = append(ways, siteTrace{c.Endpoint(), answer.Trace})
		next := answer.Trace.Next
		if next == nil || len(t.sites) == 0 {
			break
		}
		other, id, err := t.siteOf(ctx, next.TunnelIP)
		if err != nil {
			return nil, err
		}
		c, path, request = other, client.GatewayDevices.Path+"/"+id+"/trace", next.Request
	}
	return ways, nil
}

// siteOf finds the site, among those of --next-site, that has a tunnel IP.
func (t *traceFlags) siteOf(ctx context.Context, tunnelIP netip.Addr) (*client.Client, string, error) {
	for _, endpoint := range t.sites {
		c, err := client.New(ctx, client.Options{Endpoint: endpoint})
		if err != nil {
			return nil, "", err
		}
		devices, err := c.List(ctx, client.GatewayDevices, nil)
		if err != nil {
			return nil, "", err
		}
		for _, d := range devices {
			ips, _ := d["tunnel_ips"].([]any)
			if slices.Contains(ips, any(tunnelIP.String())) {
				return c, client.ID(d), nil
			}
		}
	}
	return nil, "", &cli.Error{
		Err:  fmt.Errorf("no site of --next-site has a gateway device with the tunnel IP %s", tunnelIP),
		Hint: "The remote MAC entry's vtep_address may be wrong.", Code: cli.ExitNotFound,
	}
}

func (t *traceFlags) print(w io.Writer, ways []siteTrace) error {
	var b strings.Builder
	for i, way := range ways {
		if len(ways) > 1 {
			if i > 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "site %s\n", strings.TrimSuffix(way.Endpoint, "/"))
		}
		printReport(&b, way.Report, t.showsHeaders)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printReport(b *strings.Builder, r trace.Report, headers bool) {
	if headers {
		printLayers(b, "sent:", r.Sent)
	}
	printHops(b, r.Hops)
	if len(r.Answer) > 0 {
		b.WriteString("what comes back:\n")
		printHops(b, r.Answer)
	}
	if headers {
		printLayers(b, "leaves as:", r.Out)
	}
	mark := "✓"
	if !r.Delivered {
		mark = "✗"
	}
	fmt.Fprintf(b, "%s %s\n", mark, cli.Plain(r.Summary))
	for _, w := range r.Warnings {
		fmt.Fprintf(b, "! %s\n", cli.Plain(w))
	}
}

func printHops(b *strings.Builder, hops []trace.Hop) {
	for i, h := range hops {
		branch, stem := "├─", "│ "
		if i == len(hops)-1 {
			branch, stem = "└─", "  "
		}
		fmt.Fprintf(b, "%s %s\n", branch, cli.Plain(h.At))
		line := func(s string) {
			if s != "" {
				fmt.Fprintf(b, "%s     %s\n", stem, cli.Plain(s))
			}
		}
		line(h.Decision)
		switch {
		case h.Reason != "":
			line("→ dropped: " + h.Reason)
		case h.Result != "":
			line("→ " + h.Result)
		}
		line(h.Remedy)
	}
}

func printLayers(b *strings.Builder, title string, layers []packet.Layer) {
	if len(layers) == 0 {
		return
	}
	b.WriteString(title + "\n")
	for _, l := range layers {
		fmt.Fprintf(b, "  %s:", cli.Plain(l.Name))
		for _, f := range l.Fields {
			fmt.Fprintf(b, " %s %s", cli.Plain(f.Name), cli.Plain(f.Value))
		}
		b.WriteString("\n")
	}
}
