package flux

import (
	"github.com/spf13/pflag"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/control/view"
)

// Options with their flags are the dialect, as commands are given it.
var _ control.Dialect = (*Options)(nil)

// Kinds implements [view.Dialect].
func (o Options) Kinds() []view.Kind { return kinds() }

// Name implements [view.Dialect].
func (o Options) Name() string { return "flux" }

// Manager implements [view.Dialect].
func (o Options) Manager() string { return applyManager }

// Flags implements [view.Dialect].
func (o *Options) Flags(f *pflag.FlagSet) {
	f.BoolVar(&o.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to objects of other namespaces, as plumb install --multi-tenant sets it")
	f.BoolVar(&o.NoRemoteBases, "no-remote-bases", true, "refuse kustomizations that name bases by URL")
	f.BoolVar(&o.ApplyFluxComponents, "apply-flux-components", false, "apply Flux's own controllers, and prune what Flux is made of, like other objects")
	f.BoolVar(&o.StrictSubstitution, "strict-substitutions", true, "fail where postBuild finds a variable that is not set and has no default")
	f.StringSliceVar(&o.OverrideManagers, "override-manager", nil, "field managers whose changes are taken back, beside kubectl")
	f.StringSliceVar(&o.CustomStageKinds, "custom-apply-stage-kinds", nil, "kinds to apply before the rest, as Kind or group/Kind")
}

// ServeFlags implements [control.Dialect].
func (o *Options) ServeFlags(f *pflag.FlagSet) {
	f.StringVar(&o.DefaultServiceAccount, "default-service-account", "", "service account, in its own namespace, to act as for a Kustomization that names none")
	f.BoolVar(&o.Kubeconfig.AllowExec, "insecure-kubeconfig-exec", false, "run the programs that a kubeconfig from a Secret names")
	f.BoolVar(&o.Kubeconfig.AllowInsecureTLS, "insecure-kubeconfig-tls", false, "connect without checking the certificate, if a kubeconfig from a Secret, or the Secret of a cluster of Argo CD's, says so")
}

// Slim implements [control.Dialect].
func (o Options) Slim(obj any) (any, error) { return custom.Slim(obj) }
