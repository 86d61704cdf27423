// Package neutronapi serves a site over HTTP the way OpenStack Neutron v2.0 and
// MidoNet's extensions do: paths, attribute rules, filters, paging, error bodies.
//
// Each resource is a table of attributes (see attribute) and a few functions of
// package site; one engine (see resource) does the rest. Reads go to a snapshot
// that holds every write acknowledged before.
package neutronapi
