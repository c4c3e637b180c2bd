package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"plumb.dev/plumb/cli/install"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source/stores"
)

// serveOptions are the flags of plumb serve.
type serveOptions struct {
	data                              string
	metricsAddr, healthAddr, hintAddr string
	pprofAddr, webhookAddr            string
	leaderElect                       bool
	leaderNamespace                   string
	concurrent                        int
	renderMemory                      int64
	renderWorkers                     int
	renderWorkerMemory                int64
	logLevel, logFormat               string
	dialects                          []control.Dialect
}

func newServe(version string, dialects []control.Dialect, flags *genericclioptions.ConfigFlags) *cobra.Command {
	o := serveOptions{dialects: dialects}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the controller, in a cluster or next to one",
		Long: `Run the controller. In a cluster it uses its service account; elsewhere
KUBECONFIG or --kubeconfig. It holds true every unit that it finds.`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), o.logFormat, o.logLevel)
			if err != nil {
				return err
			}
			stop, err := speakIn(log)
			if err != nil {
				return err
			}
			defer stop()
			if err := o.connect(cmd.Context(), version, flags, log); err != nil {
				log.Error("plumb ends", "err", advised(err))
				return exitError(1)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData(), "folder for fetched repositories and what was rendered of them; it may be emptied at any time")
	f.StringVar(&o.metricsAddr, "metrics-addr", ":8080", "where to serve metrics; 0 is nowhere")
	f.StringVar(&o.healthAddr, "health-addr", ":9440", "where to serve /healthz and /readyz; 0 is nowhere")
	f.StringVar(&o.hintAddr, "hint-addr", ":9292", "where to take hints that a repository was pushed to: POST /hint; 0 is nowhere")
	f.StringVar(&o.webhookAddr, "webhook-addr", "0", "where to take webhooks of GitHub, GitLab, Gitea, Gogs and Bitbucket: POST /api/webhook, signed with a secret of argocd-secret or plumb-webhooks; 0 is nowhere")
	f.StringVar(&o.pprofAddr, "pprof-addr", "0", "where to serve profiles of this process to go tool pprof; they tell whoever asks what plumb works on; 0 is nowhere")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "run only while holding the Lease plumb-leader")
	f.StringVar(&o.leaderNamespace, "leader-namespace", "", "namespace of the Lease (default: the one that plumb runs in)")
	f.IntVar(&o.concurrent, "concurrent", 16, "units worked on at once; none of them waits for anything")
	f.Int64Var(&o.renderMemory, "render-memory", 256<<20, "most bytes to keep of rendered objects")
	f.IntVar(&o.renderWorkers, "render-workers", renderWorkers(), "processes that render, side by side")
	f.Int64Var(&o.renderWorkerMemory, "render-worker-memory", 384<<20, "most bytes of memory that each of them may have; one that has more is ended")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "json", "json or text")
	for _, d := range dialects {
		d.Flags(f)
		d.ServeFlags(f)
	}
	return cmd
}

func defaultData() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "plumb", "serve")
}

// connect serves the cluster that the flags name.
func (o serveOptions) connect(ctx context.Context, version string, flags *genericclioptions.ConfigFlags, log *slog.Logger) error {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w; set KUBECONFIG or --kubeconfig", err)
	}
	config.UserAgent = "plumb/" + version
	return o.serve(ctx, config, log)
}

// serve builds the controller, top to bottom, and runs it.
func (o serveOptions) serve(ctx context.Context, config *rest.Config, log *slog.Logger) error {
	config.QPS = -1 // the API server's priority and fairness limits us
	// What the API server thinks of our own finalizer's name is no news.
	config.WarningHandler = rest.NoWarnings{}

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Client:                        client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Cache:                         cache.Options{DefaultTransform: o.slim},
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddr},
		HealthProbeBindAddress:        o.healthAddr,
		PprofBindAddress:              o.pprofAddr,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "plumb-leader",
		LeaderElectionNamespace:       o.leaderNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := o.hasKinds(ctx, mgr.GetRESTMapper(), cluster.Host(config), log); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	store, err := stores.Open(o.data)
	if err != nil {
		return fmt.Errorf("open --data: %w", err)
	}
	defer store.Close()
	renders, err := render.OpenFolder(filepath.Join(o.data, "renders"))
	if err != nil {
		return fmt.Errorf("open --data: %w", err)
	}

	renderers, end, err := o.renderers(log)
	if err != nil {
		return err
	}
	defer end()
	byLua, endLua, err := luaRunner(log)
	if err != nil {
		return err
	}
	defer endLua()
	finder, endJQ, err := jqFinder(log)
	if err != nil {
		return err
	}
	defer endJQ()

	// Of events that repeat, the last few hundred are remembered to be counted
	// up; by default it would be thousands.
	broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{LRUCacheSize: 512}))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clientset.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	recorder := broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "plumb"})

	served, err := control.Setup(ctx, mgr, o.dialects, control.Options{
		Stores: store, Clientset: clientset, Events: recorder, Log: log, ArtifactHost: "plumb." + OwnNamespace() + ".svc",
		RenderMemory: o.renderMemory, Renders: renders, Renderers: renderers, Lua: byLua, JQ: finder, Concurrent: o.concurrent,
	})
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("synced", synced(mgr)); err != nil {
		return err
	}
	if err := mgr.Add(memoryTidier{trim: store.Git.Trim}); err != nil {
		return err
	}
	if o.hintAddr != "0" {
		err := mgr.Add(&manager.Server{Name: "hint", Server: &http.Server{
			Addr: o.hintAddr, Handler: hints(served.Hint, log),
			ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		}})
		if err != nil {
			return err
		}
	}
	if o.webhookAddr != "0" {
		if err := mgr.Add(o.webhooks(served, log)); err != nil {
			return err
		}
	}
	log.Info("plumb serves", "server", cluster.Host(config))
	if err := mgr.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// slim is what every dialect leaves of its custom resources in the cache.
func (o serveOptions) slim(obj any) (any, error) {
	for _, d := range o.dialects {
		var err error
		if obj, err = d.Slim(obj); err != nil {
			return nil, err
		}
	}
	return obj, nil
}

// startPatience is how long a start tries to reach the API server. It is less
// than what the liveness probe of plumb install gives it; what a start that
// fails is slowed down by, growing to five minutes, is much more.
const startPatience = 20 * time.Second

// hasKinds checks that the cluster has plumb's custom resource definitions.
func (o serveOptions) hasKinds(ctx context.Context, mapper apimeta.RESTMapper, host string, log *slog.Logger) error {
	var kinds []schema.GroupVersionKind
	for _, d := range o.dialects {
		for _, k := range d.Kinds() {
			kinds = append(kinds, k.GroupVersionKind)
		}
	}
	var last error
	err := utilwait.PollUntilContextTimeout(ctx, time.Second, startPatience, true, func(context.Context) (bool, error) {
		var missing []string
		for _, kind := range kinds {
			switch _, err := mapper.RESTMapping(kind.GroupKind(), kind.Version); {
			case err == nil:
			case apimeta.IsNoMatchError(err):
				missing = append(missing, kind.String())
			case apierrors.IsUnauthorized(err), apierrors.IsForbidden(err):
				return false, fmt.Errorf("ask %s for its kinds: %w", host, err)
			default:
				if last == nil {
					log.Info("the API server does not answer yet", "server", host, "for", startPatience.String(), "err", err)
				}
				last = err
				return false, nil
			}
		}
		if len(missing) > 0 {
			return false, fmt.Errorf("the cluster has no %s; run: plumb install --crds", strings.Join(missing, "; no "))
		}
		return true, nil
	})
	if last != nil && utilwait.Interrupted(err) {
		return fmt.Errorf("ask %s for its kinds: %w", host, last)
	}
	return err
}

func synced(mgr ctrl.Manager) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the custom resources have not been read yet")
		}
		return nil
	}
}

// OwnNamespace is the namespace that plumb runs in, or is installed to.
func OwnNamespace() string {
	if ns := os.Getenv("RUNTIME_NAMESPACE"); ns != "" {
		return ns
	}
	b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err == nil {
		return strings.TrimSpace(string(b))
	}
	return install.DefaultNamespace
}
