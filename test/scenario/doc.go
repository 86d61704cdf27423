// Package scenario holds the tests that drive whole sites: real controllers and
// agents, started through the causeway program, in a lab of network namespaces.
// They need root.
package scenario
