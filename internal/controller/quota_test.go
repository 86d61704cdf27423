package controller

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
)

func TestDefaultQuotas(t *testing.T) {
	c := config.Controller{Quotas: []string{"port=7", "router=-1"}}
	got, err := defaultQuotas(c)
	if err != nil || len(got) != 2 || got["port"] != 7 || got["router"] != -1 {
		t.Errorf("without authentication: %v, %v", got, err)
	}
	c.Auth.Method = config.AuthKeystone
	got, err = defaultQuotas(c)
	if err != nil || got["port"] != 7 || got["router"] != -1 || got["network"] != 100 {
		t.Errorf("under Keystone: %v, %v", got, err)
	}
	c.Quotas = []string{"cat=1"}
	if _, err := defaultQuotas(c); err == nil || !strings.Contains(err.Error(), `there is no quota of "cat"; there is of network, subnet`) {
		t.Errorf("an unknown resource: %v", err)
	}
}
