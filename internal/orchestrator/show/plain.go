package show

import "github.com/causeway-net/causeway/internal/cli"

// plain writes out what a text has of characters that steer a terminal or begin a line. Names are
// tenants', and what shows them is an operator's terminal, or the comment of a script.
func plain(s string) string { return cli.Plain(s) }
