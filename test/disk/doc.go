// Package disk holds the store to what it promises where the disk has no room.
package disk
