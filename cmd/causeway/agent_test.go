package main

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/maplimit"
)

// TestLimits: what the flags say without being given is what the dataplane takes
// without being told, and each flag reaches it.
func TestLimits(t *testing.T) {
	set := config.NewSet("agent")
	var c config.Agent
	c.Bind(set)
	if got, want := agentConfig(c, slog.Default()).Limits, (maplimit.Limits{}).WithDefaults(); got != want {
		t.Errorf("the flags' defaults are\n%+v, those of the dataplane\n%+v", got, want)
	}
	var want maplimit.Limits
	var args []string
	want.Each(func(value *uint32, flag string, _ uint32, _, _ string) {
		*value = uint32(len(args) + 1)
		args = append(args, fmt.Sprintf("--%s=%d", flag, *value))
	})
	if err := set.Flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	if got := agentConfig(c, slog.Default()).Limits; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
