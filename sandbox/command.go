package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/sandbox/internal/chartserver"
	"plumb.dev/plumb/sandbox/internal/cluster"
	"plumb.dev/plumb/sandbox/internal/gitserver"
)

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "plumb-sandbox",
		Short:         "A Kubernetes cluster, a Git server and Helm charts on this machine, for demos and tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), gitCommand(), chartsCommand())
	return root
}

func upCommand() *cobra.Command {
	o := cluster.Options{Out: os.Stdout, Progress: os.Stderr}
	cmd := &cobra.Command{
		Use:   "up --dir DIR --kubeconfig FILE",
		Short: "Run a cluster in the foreground until SIGTERM or Ctrl-C",
		Args:  cobra.NoArgs,
	}
	run := foreground(cmd)
	cmd.RunE = func(*cobra.Command, []string) (err error) {
		if o.Exe, err = os.Executable(); err != nil {
			return err
		}
		return run(func(ctx context.Context) error { return cluster.Up(ctx, o) })
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", "", "folder for state, keys and logs; made if it is missing, continued if it is a sandbox's")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "file for the administrator's kubeconfig, which exists while the cluster is ready")
	flags.IntVar(&o.Nodes, "nodes", 2, "number of simulated nodes")
	flags.IntVar(&o.Port, "port", 0, "port of the API server (0 picks a free one)")
	flags.BoolVar(&o.APIOnly, "api-only", false, "run etcd and the API server only: no controllers, no scheduler, no nodes")
	flags.BoolVar(&o.Audit, "audit", false, "log every request, at level Metadata, to DIR/log/audit.log")
	flags.BoolVar(&o.Ephemeral, "ephemeral", false, "remove DIR at the end")
	require(cmd, "dir", "kubeconfig")
	return cmd
}

func gitCommand() *cobra.Command {
	o := gitserver.Options{Out: os.Stdout, Log: os.Stderr}
	cmd := &cobra.Command{
		Use:   "git --root DIR",
		Short: "Serve the bare repositories below a folder over HTTP, for fetch and push",
		Args:  cobra.NoArgs,
	}
	run := foreground(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return run(func(ctx context.Context) error { return gitserver.Serve(ctx, o) })
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Root, "root", "", "folder of the repositories")
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:0", "host:port to listen on (port 0 picks a free one)")
	flags.StringVar(&o.User, "user", "", "ask for this user, by basic auth")
	flags.StringVar(&o.Password, "password", "", "the user's password")
	flags.StringVar(&o.Token, "token", "", "ask for this token: as a bearer token, or as the password of any user")
	flags.StringArrayVar(&o.Hints, "hint", nil, `URL that gets a POST of {"url","ref","revision"} after each push (may be repeated)`)
	flags.StringVar(&o.TLSCert, "tls-cert", "", "serve HTTPS with this certificate file")
	flags.StringVar(&o.TLSKey, "tls-key", "", "the certificate's key file")
	require(cmd, "root")
	return cmd
}

func chartsCommand() *cobra.Command {
	o := chartserver.Options{Out: os.Stdout}
	cmd := &cobra.Command{
		Use:   "charts --root DIR",
		Short: "Serve the Helm charts below a folder, as repositories over HTTP and from an OCI registry",
		Long: `Serve the Helm charts below a folder, as repositories over HTTP and from an OCI registry.

A chart is a folder with a Chart.yaml. It is packed when it is asked for, with what it depends on by file://.
Every folder is a repository of the charts below it: /index.yaml has all of them, /team/index.yaml those of team/.
The registry, at the same address, has each chart that is there at the start as charts/NAME:VERSION, and takes more by push.`,
		Args: cobra.NoArgs,
	}
	run := foreground(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return run(func(ctx context.Context) error { return chartserver.Serve(ctx, o) })
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Root, "root", "", "folder of the charts")
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:0", "host:port to listen on (port 0 picks a free one)")
	flags.StringVar(&o.Username, "username", "", "ask for this user, by basic auth")
	flags.StringVar(&o.Password, "password", "", "the user's password")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "serve HTTPS with this certificate file")
	flags.StringVar(&o.TLSKey, "tls-key", "", "the certificate's key file")
	require(cmd, "root")
	return cmd
}

// foreground adds what a command has that runs until it is told to end, and
// returns the function to run it with.
func foreground(cmd *cobra.Command) func(func(context.Context) error) error {
	untilEOF := cmd.Flags().Bool("until-eof", false, "end also when standard input does, so that it can't outlive the test that started it")
	return func(serve func(context.Context) error) error {
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		defer cancel()
		if *untilEOF {
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				cancel()
			}()
		}
		return serve(ctx)
	}
}

func require(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // no such flag
		}
	}
}
