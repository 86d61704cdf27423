package trace

import (
	"os"
	"strings"
	"testing"
)

// TestSourcesOfThePage: the tables of docs/PIPELINE.md and those of the pipeline say the
// same of every source and destination.
func TestSourcesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/PIPELINE.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]Source{
		"uplink": SourceUplink, "workload": SourceWorkload, "VLAN": SourceVLAN, "tunnel": SourceTunnel, "slow path": SourceSlow,
		"fabric": SourceFabric,
	}
	destinations := map[string]Destination{
		"port": ToPort, "router": ToRouter, "remote VTEP": ToRemote, "VLAN": ToVLAN,
		"another host": ToFabric, "copies to ports": ToCopies, "copies to VLANs": ToVLANCopies, "copies to hosts": ToFabricCopies,
		"host's stack": ToStack,
	}
	_, section, ok := strings.Cut(string(page), "## Sources, and what may follow from which")
	section, _, end := strings.Cut(section, "\n## ")
	if !ok || !end {
		t.Fatal("PIPELINE.md has no section of sources")
	}
	var head []string
	tables, rows := 0, 0
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if cells[0] == "From" {
			head = cells
			tables++
			continue
		}
		rows++
		from, known := sources[cells[0]]
		if !known || len(cells) != len(head) {
			t.Fatalf("row %q: the source is not known, or the row has another length than the head", line)
		}
		may := from.MayFollow()
		if tables == 2 {
			may = from.MayAsk()
		}
		for i, cell := range cells[1:] {
			to := destinations[head[i+1]]
			if to == 0 {
				t.Fatalf("no destination %q", head[i+1])
			}
			if want := strings.HasPrefix(cell, "yes"); may&to != 0 != want {
				t.Errorf("table %d, %s to %s: %q, and the pipeline says %v", tables, cells[0], head[i+1], cell, !want)
			}
		}
	}
	if tables != 2 || rows != len(sources)+2 {
		t.Errorf("%d tables with %d rows: want 2 with %d", tables, rows, len(sources)+2)
	}
}

// TestNoSource: what has no source reaches nothing.
func TestNoSource(t *testing.T) {
	for s := range 256 {
		if from := Source(s); (s == 0 || from > SourceFabric) && from.MayFollow()|from.MayAsk() != 0 {
			t.Errorf("source %d may reach something", s)
		}
	}
}
