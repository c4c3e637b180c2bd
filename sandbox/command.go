package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/sandbox/internal/cluster"
)

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "plumb-sandbox",
		Short:         "A Kubernetes cluster and a Git server on this machine, for demos and tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand())
	return root
}

func upCommand() *cobra.Command {
	o := cluster.Options{Out: os.Stdout, Progress: os.Stderr}
	cmd := &cobra.Command{
		Use:   "up --dir DIR --kubeconfig FILE",
		Short: "Run a cluster in the foreground until SIGTERM or Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Exe, err = os.Executable(); err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer cancel()
			return cluster.Up(ctx, o)
		},
	}
	cmd.SetContext(context.Background())
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", "", "folder for state, keys and logs; made if it is missing, continued if it is a sandbox's")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "file for the administrator's kubeconfig, which exists while the cluster is ready")
	flags.IntVar(&o.Nodes, "nodes", 2, "number of simulated nodes")
	flags.IntVar(&o.Port, "port", 0, "port of the API server (0 picks a free one)")
	flags.BoolVar(&o.APIOnly, "api-only", false, "run etcd and the API server only: no controllers, no scheduler, no nodes")
	flags.BoolVar(&o.Audit, "audit", false, "log every request, at level Metadata, to DIR/log/audit.log")
	flags.BoolVar(&o.Ephemeral, "ephemeral", false, "remove DIR at the end")
	for _, name := range []string{"dir", "kubeconfig"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return cmd
}
