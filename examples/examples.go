// Package examples holds the labs of this directory for the program itself: the
// demo runs the same file that a reader finds here.
package examples

import _ "embed"

// TwoSites is two-sites.yaml.
//
//go:embed two-sites.yaml
var TwoSites []byte

// ThreeSites is three-sites.yaml.
//
//go:embed three-sites.yaml
var ThreeSites []byte

// ManyHosts is many-hosts.yaml.
//
//go:embed many-hosts.yaml
var ManyHosts []byte
