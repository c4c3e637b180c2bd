package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A Config is what the command has from the command that it is part of.
type Config struct {
	Flags   *genericclioptions.ConfigFlags // persistent flags of the parent
	Version string                         // of this program
}

// NewCommand returns plumb install.
func NewCommand(c Config) *cobra.Command {
	r := run{Config: c, options: Options{Version: c.Version}}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install plumb on a cluster, or print what that takes",
		Long: `Install plumb: custom resource definitions, rights, Deployment. Installing
again updates it.

A Kustomization that names no service account is applied with plumb's own
rights, which are cluster-admin's, as Flux has it. With --multi-tenant they
are not: it is applied as the service account "default" of its namespace, and
references to objects of other namespaces are refused.`,
		Example: `  plumb install --image registry.example.com/plumb:v1.0.0
  plumb install --export | kubectl apply -f -
  plumb install --crds`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s does not take %q; type: %[1]s --help", cmd.CommandPath(), args[0])
			}
			return nil
		},
		RunE: r.run,
	}
	f := cmd.Flags()
	f.BoolVar(&r.export, "export", false, "print the manifests instead of applying them")
	f.BoolVar(&r.options.CRDsOnly, "crds", false, "install the custom resource definitions only")
	f.StringVar(&r.options.Image, "image", "plumb:"+imageTag(c.Version), "image of the controller")
	f.BoolVar(&r.options.MultiTenant, "multi-tenant", false, "give plumb no rights that tenants could share")
	f.BoolVar(&r.force, "force-conflicts", false, "take over fields that somebody else has set")
	f.BoolVar(&r.besideFlux, "beside-flux", false, "install even if Flux's controllers run")
	f.BoolVar(&r.options.BesideArgoCD, "beside-argocd", false, "leave Applications to Argo CD")
	f.StringVar(&r.options.ArgoCDRedis, "argocd-redis", "", "HOST:PORT of the Redis of Argo CD's own server, to keep that in front of plumb")
	f.BoolVar(&r.wait, "wait", true, "wait until plumb runs")
	f.DurationVar(&r.timeout, "timeout", 3*time.Minute, "longest time to wait")
	return cmd
}

func imageTag(version string) string {
	if version == "" {
		return "latest"
	}
	return label(version)
}

type run struct {
	Config
	options           Options
	export            bool
	force, besideFlux bool
	wait              bool
	timeout           time.Duration
}

func (r *run) run(cmd *cobra.Command, _ []string) error {
	if r.Flags.Namespace != nil {
		r.options.Namespace = *r.Flags.Namespace
	}
	objects, err := Manifests(r.options)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if r.export {
		return printYAML(cmd.OutOrStdout(), objects)
	}

	config, err := r.Flags.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w; set KUBECONFIG or --kubeconfig", err)
	}
	c, err := client.New(config, client.Options{Log: klog.Background()})
	if err != nil {
		return fmt.Errorf("reach the cluster at %s: %w", config.Host, err)
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), r.timeout, errors.New("that took longer than --timeout"))
	defer cancel()
	if !r.besideFlux && !r.options.CRDsOnly {
		if err := requireAlone(ctx, c); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	if !r.options.BesideArgoCD && !r.options.CRDsOnly {
		if err := requireNoArgoCD(ctx, c); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	if err := apply(ctx, c, objects, r.force, cmd.OutOrStdout()); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if !r.wait {
		return nil
	}
	if err := waitAll(ctx, c, objects, cmd.OutOrStdout()); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if r.options.CRDsOnly {
		fmt.Fprintln(cmd.OutOrStdout(), "the custom resource definitions are established")
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), "plumb runs; next: kubectl apply a GitRepository and a Kustomization")
	}
	return nil
}
