package helm

import (
	"encoding/json"
	"fmt"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
)

// capabilities are .Capabilities: templates see Helm's own, and it is noted what
// of it they have looked at. What the options say is not the cluster's.
type capabilities struct {
	is    *common.Capabilities
	given struct{ version, apis bool }
	asked render.Asked
}

// capabilitiesOf are those of a render.
func capabilitiesOf(o Options, cluster *render.Cluster) (*capabilities, error) {
	c := &capabilities{is: common.DefaultCapabilities.Copy()}
	version, apis := cluster.Version(), cluster.APIs()
	if o.KubeVersion != "" {
		version, c.given.version = o.KubeVersion, true
	}
	if len(o.APIVersions) > 0 {
		apis, c.given.apis = slices.Concat(c.is.APIVersions, o.APIVersions), true
	}
	if version != "" {
		v, err := common.ParseKubeVersion(version)
		if err != nil {
			return nil, render.Stall(fault.InvalidSpec, "write it as 1.33.0", fmt.Errorf("kubeVersion: %q is no version of Kubernetes", version))
		}
		c.is.KubeVersion = *v
	}
	if len(apis) > 0 {
		c.is.APIVersions = apis
	}
	return c, nil
}

// KubeVersion is .Capabilities.KubeVersion.
func (c *capabilities) KubeVersion() *common.KubeVersion {
	c.asked.Version = c.asked.Version || !c.given.version
	return &c.is.KubeVersion
}

// APIVersions is .Capabilities.APIVersions.
func (c *capabilities) APIVersions() common.VersionSet {
	c.asked.APIs = c.asked.APIs || !c.given.apis
	return c.is.APIVersions
}

// HelmVersion is .Capabilities.HelmVersion.
func (c *capabilities) HelmVersion() any { return c.is.HelmVersion }

// MarshalJSON is what a template gets that prints all of it.
func (c *capabilities) MarshalJSON() ([]byte, error) {
	_, _ = c.KubeVersion(), c.APIVersions()
	return json.Marshal(c.is)
}
