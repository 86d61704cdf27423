// Package neutronapi serves a site over HTTP the way OpenStack Neutron v2.0 and
// MidoNet's extensions do: paths, attribute rules, filters, paging, error bodies.
//
// Each resource is a table of attributes (see attribute) and a few functions of
// package site; one engine (see resource) does the rest. Reads go to a snapshot
// that holds every write acknowledged before.
//
// # Adding an attribute
//
// One line in the resource's table is all. takes says what requests may have: a
// kind of value (boolean, integer, label, resourceID, address, prefix, mac, oneOf,
// listOf, object, nullable …, see value) and either the field that it goes into
// (into) or a function that takes it (with). The kind both reads the value and
// describes it, so that the API's description cannot say anything else than what is
// checked. get is the value in replies; gives describes it where it differs from
// what requests have:
//
//	attribute[in, port]{name: "device_id", post: true, put: true,
//		takes: into(nullable(label()), func(i *in) *string { return &i.DeviceID }),
//		get:   func(_ store.Snapshot, p *port) any { return p.DeviceID }}
//
// A kind of value that none of these is, is a value of its own: takes, gives and
// parse side by side. A test tries odd values on every attribute and fails where a
// schema refuses what parse takes, and where an attribute has no schema.
//
// A path of its own is an operation (see methods, and Extra for what other packages
// serve): what it does, and what the description says of it. There is no way to
// serve one without the other, and the tests hold every answer to the description.
package neutronapi
