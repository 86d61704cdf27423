// Package clients drives a controller with the clients that operators have: the
// openstack and neutron command lines, gophercloud and tempest, without Keystone and
// with one. What a real Neutron answers them is in testdata, as data.
package clients
