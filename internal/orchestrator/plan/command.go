package plan

import (
	"regexp"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// bare is a word that a shell takes as it is.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:=,%+@-]+$`)

// Quote makes one word of a text for a shell.
func Quote(s string) string {
	if bare.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// commandAt is a command of a client for a site, to be typed into a shell. Whatever account the shell has
// chosen, it goes to that site; where the file holds the account's secrets, whoever types
// it says who asks.
func commandAt(s *peering.Site, words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	cmd := strings.Join(quoted, " ")
	switch {
	case s.Access.Cloud != "":
		return "OS_CLOUD=" + Quote(s.Access.Cloud) + " " + cmd
	case s.Access.Endpoint != "" && len(s.Access.Auth) == 0:
		return "env -u OS_CLOUD OS_AUTH_TYPE=none OS_ENDPOINT=" + Quote(s.Access.Endpoint) + " " + cmd
	}
	return cmd + " # with the account of " + s.Name
}
