// Package control is what plumb serve hands to the dialects, and asks of them.
// Each dialect is a folder of its own and knows no other; which there are,
// only cmd/plumb says.
package control

import (
	"context"
	"log/slog"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source/git"
)

// A Dialect can be looked at and served.
type Dialect interface {
	view.Dialect

	// ServeFlags adds the settings that only its controllers have.
	ServeFlags(*pflag.FlagSet)

	// Slim is the [k8s.io/client-go/tools/cache.TransformFunc] for the cache
	// of its custom resources.
	Slim(any) (any, error)

	// Setup adds its controllers to mgr. They run until ctx is done.
	Setup(ctx context.Context, mgr ctrl.Manager, p Parts) (Served, error)
}

// Parts are what controllers are made of.
type Parts struct {
	Store        *git.Store
	Clientset    kubernetes.Interface
	Events       record.EventRecorder
	Log          *slog.Logger
	RenderMemory int64 // bytes
	Renders      *render.Folder
	Renderers    *render.Workers
	Concurrent   int // units at once
	ArtifactHost string
}

// Served is a dialect whose controllers are set up.
type Served interface {
	// Hint has the sources with the given URL polled now, or all of them if
	// there is none. It returns how many they are.
	Hint(url string) int
}
