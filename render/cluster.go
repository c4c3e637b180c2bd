package render

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A Cluster is what a build may ask of the one that its objects are for.
type Cluster struct {
	version string
	apis    []string
	digest  string // of apis
}

// NewCluster returns one with a version of Kubernetes and all that it has, as
// group/version and group/version/Kind, sorted.
func NewCluster(version string, apis []string) *Cluster {
	sum := sha256.Sum256([]byte(strings.Join(apis, "\n")))
	return &Cluster{version, apis, hex.EncodeToString(sum[:])}
}

// Version returns that of Kubernetes; empty: it is not known.
func (c *Cluster) Version() string {
	if c == nil {
		return ""
	}
	return c.version
}

// APIs returns what there is. They may not be changed.
func (c *Cluster) APIs() []string {
	if c == nil {
		return nil
	}
	return c.apis
}

// Asked is what of a Cluster a build has gone by.
type Asked struct{ Version, APIs bool }

// of is what of a cluster a build has gone by, in short: it would have done the same
// by another one of which that is equal.
func (a Asked) of(c *Cluster) (said string) {
	if a.Version {
		said = c.Version()
	}
	if a.APIs && c != nil {
		said += " " + c.digest
	}
	return said
}
