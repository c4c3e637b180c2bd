package component

import (
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes' own build gives these to the linker. A plain "go build" is to
// make the same program, since clients refuse a server of version v0.0.0, and
// so they are linked from here.
var (
	//go:linkname gitVersion k8s.io/component-base/version.gitVersion
	gitVersion string
	//go:linkname gitMajor k8s.io/component-base/version.gitMajor
	gitMajor string
	//go:linkname gitMinor k8s.io/component-base/version.gitMinor
	gitMinor string
	//go:linkname gitCommit k8s.io/component-base/version.gitCommit
	gitCommit string
	//go:linkname clientVersion k8s.io/client-go/pkg/version.gitVersion
	clientVersion string
)

// setVersion makes the programs say which release of Kubernetes they were
// built from: the one that go.mod requires.
func setVersion() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, module := range info.Deps {
		if module.Path != "k8s.io/kubernetes" {
			continue
		}
		gitVersion, clientVersion = module.Version, module.Version
		parts := strings.SplitN(strings.TrimPrefix(module.Version, "v"), ".", 3)
		gitMajor, gitMinor = parts[0], parts[1]
		gitCommit = "" // not known, and the placeholder would be shown
		return version.SetDynamicVersion(module.Version)
	}
	return nil
}
