package controller

import (
	"strings"
	"testing"
)

// TestShareDescriptors: the listeners never have so many connections between them that
// the store is left without files.
func TestShareDescriptors(t *testing.T) {
	for _, c := range []struct {
		descriptors uint64
		want, got   connectionLimits
	}{
		{1 << 20, connectionLimits{1024, 4096}, connectionLimits{1024, 4096}},
		{1 << 63, connectionLimits{1024, 4096}, connectionLimits{1024, 4096}},
		{1024, connectionLimits{1024, 4096}, connectionLimits{70, 282}},
		{1024, connectionLimits{1, 4096}, connectionLimits{16, 336}},
		{704, connectionLimits{1024, 4096}, connectionLimits{16, 16}},
		{704, connectionLimits{1 << 40, 16}, connectionLimits{16, 16}},
	} {
		got, err := shareDescriptors(c.descriptors, c.want)
		if err != nil || got != c.got {
			t.Errorf("%d for %v: %v, %v; want %v", c.descriptors, c.want, got, err, c.got)
		}
	}
	if _, err := shareDescriptors(703, connectionLimits{1024, 4096}); err == nil || !strings.Contains(err.Error(), "LimitNOFILE") {
		t.Error(err)
	}
}
