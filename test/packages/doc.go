// Package packages tests the Debian packages: what is in them, and what becomes of a machine
// on which they are installed, upgraded, removed and purged.
package packages
