// Package argocd is the dialect of Argo CD: it turns Applications into units
// and sources, and what became of them into the status and events that Argo
// CD's users, its server and its other clients rely on.
//
// Custom resources are read as they are stored, and decoded strictly one by one:
// an Application that this version can't make sense of has a condition that
// names the field, and hurts no other. An Application is brought to its source by
// operations only, as [engine.Operation] has them: by one that a client has set,
// or by one that the dialect begins where the sync policy is automated.
//
// Applications have no status subresource, so that clients write to the same
// object, status included. What is written here is the difference to what was
// read, and refused where somebody else has written since.
package argocd

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"sync/atomic"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/control/view"
)

// Names that are API.
const (
	prefix         = "argocd.argoproj.io/"
	refresh        = prefix + "refresh"
	refreshTime    = prefix + "refresh-timestamp"
	skipReconcile  = prefix + "skip-reconcile"
	trackingID     = prefix + "tracking-id"
	installationID = prefix + "installation-id"
	syncOptions    = prefix + "sync-options"
	compareOptions = prefix + "compare-options"
	compareOption  = prefix + "compare-options"
	ignoreHealth   = prefix + "ignore-healthcheck"
	ignoreDiff     = prefix + "ignore-differences"
	hookKey        = prefix + "hook"
	hookDelete     = prefix + "hook-delete-policy"
	hookFinalizer  = prefix + "hook-finalizer"
	syncWave       = prefix + "sync-wave"

	// Finalizers of an Application that goes.
	cascade           = "resources-finalizer." + "argocd.argoproj.io"
	cascadeForeground = cascade + "/foreground"
	cascadeBackground = cascade + "/background"
	deletionApproved  = "argocd.argoproj.io/deletion-approved"
	preDelete         = "pre-delete-finalizer." + "argocd.argoproj.io"
	postDelete        = "post-delete-finalizer." + "argocd.argoproj.io"

	// applyManager owns the fields of objects, and statusManager those of
	// Applications.
	applyManager  = "argocd-controller"
	statusManager = "argocd-application-controller"

	// unitLabel is on all objects of Applications, so that a watch can select
	// them: it is a digest of the unit's name.
	unitLabel = "plumb.dev/unit"
)

// formerManagers are those by which Argo CD writes objects on the client's side:
// what it applies, and what it replaces.
var formerManagers = []string{applyManager, statusManager}

// sourceName is what the names of sources begin with. They are no custom
// resources.
const sourceName = "ApplicationSource"

// Options are the settings of the dialect, one flag of plumb serve each.
type Options struct {
	// Namespace is where Argo CD's own objects are: projects, repositories,
	// clusters, and Applications. Empty: there are none that are worked on.
	Namespace string
	// Namespaces are patterns of others that may hold Applications.
	Namespaces []string
	// OwnNamespace is where plumb runs; it is never pruned.
	OwnNamespace string
	// Redis is what Argo CD's own server reads, if it is kept.
	Redis Redis
	// Kubeconfig is what the Secret of a cluster may make plumb do, by another
	// dialect's flags; nil: nothing that is unsafe.
	Kubeconfig *cluster.KubeconfigPolicy

	names names
	// common are the settings by which it is told whose an object is; nil: those
	// that there are without any.
	common atomic.Pointer[common]
}

func (o *Options) objects() objects { return objects{o} }

// policy is what the Secret of a cluster may make plumb do. It is known once flags
// are read.
func (o *Options) policy() (p cluster.KubeconfigPolicy) {
	if o.Kubeconfig != nil {
		p = *o.Kubeconfig
	}
	return p
}

// Options with their flags are the dialect, as commands are given it.
var _ control.Dialect = (*Options)(nil)

// Kinds implements [view.Dialect].
func (o *Options) Kinds() []view.Kind { return o.kinds() }

// Name implements [view.Dialect].
func (o *Options) Name() string { return "argocd" }

// Manager implements [view.Dialect].
func (o *Options) Manager() string { return applyManager }

// Flags implements [view.Dialect].
func (o *Options) Flags(f *pflag.FlagSet) {
	f.StringVar(&o.Namespace, "argocd-namespace", "argocd", "namespace of Applications, and of Argo CD's projects, repositories and clusters; empty: Applications are left alone")
	f.StringSliceVar(&o.Namespaces, "application-namespaces", nil, "other namespaces that may hold Applications, as patterns such as team-*; those elsewhere are left alone")
}

// A Redis is one as flags have it. Its password is in the environment.
type Redis struct {
	Addr string // HOST:PORT; empty: there is none
	TLS  bool
	CA   string // file; empty: what the system trusts
}

// ServeFlags implements [control.Dialect].
func (o *Options) ServeFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Redis.Addr, "argocd-redis", "", "HOST:PORT of the Redis of Argo CD's own server, which shows from there what people open; its password as in Argo CD: REDIS_PASSWORD, or the folder REDIS_CREDS_DIR_PATH; empty: there is no such server")
	f.BoolVar(&o.Redis.TLS, "argocd-redis-tls", false, "connect to it by TLS")
	f.StringVar(&o.Redis.CA, "argocd-redis-ca", "", "file with the certificates to trust for that (default: those of the system)")
}

// Slim implements [control.Dialect].
func (o *Options) Slim(obj any) (any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok && u.GroupVersionKind() == api.ApplicationKind {
		return custom.Slim(obj, "spec", "operation")
	}
	return custom.Slim(obj)
}

// serves reports whether Applications of a namespace are worked on: by flags, or
// by what Argo CD's settings say.
func (o *Options) serves(namespace string, in *around) bool {
	if o.Namespace == "" {
		return false
	}
	if namespace == o.Namespace || in != nil && in.AppliesTo(namespace) {
		return true
	}
	for _, p := range o.Namespaces {
		if ok, err := path.Match(p, namespace); ok && err == nil {
			return true
		}
	}
	return false
}

// unitName names a unit, and is how the engine and the queue call it.
func unitName(key types.NamespacedName) string {
	return api.ApplicationKind.Kind + "/" + key.Namespace + "/" + key.Name
}

// keyOf is the other direction of unitName.
func keyOf(unit string) (key types.NamespacedName, ok bool) {
	parts := strings.SplitN(unit, "/", 3)
	if len(parts) != 3 || parts[0] != api.ApplicationKind.Kind {
		return key, false
	}
	return types.NamespacedName{Namespace: parts[1], Name: parts[2]}, true
}

// digest identifies texts, in as many characters as a label may have.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		h.Write([]byte(t))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}
