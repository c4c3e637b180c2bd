package component

import (
	"context"
	"flag"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
)

// quota is how large the database may grow: enough for a benchmark with
// hundreds of thousands of objects, which etcd's default is not.
const quota = 8 << 30

// runEtcd serves one etcd member on a Unix socket until ctx is done. A socket
// instead of a port is private to the user and can't be taken by another.
func runEtcd(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(Etcd, flag.ContinueOnError)
	data := flags.String("data-dir", "", "folder of the database")
	socket := flags.String("socket", "", "Unix socket for clients, relative to the working directory")
	if err := flags.Parse(args); err != nil {
		return err
	}

	cfg := embed.NewConfig()
	cfg.Name = "sandbox"
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.Dir = *data
	cfg.LogLevel = "warn"
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // else it warns of each
	cfg.UnsafeNoFsync = true                                                   // a sandbox may lose data when the machine dies
	cfg.QuotaBackendBytes = quota
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Host: *socket}}
	cfg.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: "peer-" + *socket}}
	// The only member need not wait for others before it is the leader.
	cfg.TickMs, cfg.ElectionMs = 10, 100

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start on %s: %w", *data, err)
	}
	defer server.Close()
	select {
	case err := <-server.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}
