// Package cluster runs one Kubernetes cluster on this machine: a real control
// plane with simulated nodes.
//
// [Up] promises that the kubeconfig exists exactly while the cluster is ready
// and running, that a cluster whose folder has been used before continues
// with its old state, keys and, if it is free, port, and that nothing keeps
// running when it returns. Several clusters run side by side, each in a
// folder of its own.
//
// How a process is kept alive and ended is package child's business, what is
// inside each of them package component's.
package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/sandbox/internal/child"
)

// patience is how long a cluster may take to become ready. It takes seconds;
// the rest is for machines that are busy with something else.
const patience = 3 * time.Minute

// Options say what cluster to run.
type Options struct {
	Dir        string // state, keys, logs, pid files
	Kubeconfig string // written for the administrator when ready
	Nodes      int    // how many simulated nodes
	Port       int    // of the API server; 0 picks one
	APIOnly    bool   // run etcd and the API server and nothing else
	Audit      bool   // log each request to Dir/log/audit.log
	Ephemeral  bool   // remove Dir at the end

	Exe      string    // the executable that runs the components
	Out      io.Writer // gets the line "ready"
	Progress io.Writer // gets what happens meanwhile
}

// A cluster is one run of Up.
type cluster struct {
	Options
	port     int
	children *child.Group
	byName   map[string]*child.Child
	client   kubernetes.Interface
	progress sync.Mutex
}

// Up runs the cluster until ctx is done. It returns nil when that is why it
// ended.
func Up(ctx context.Context, o Options) (err error) {
	for _, path := range []*string{&o.Dir, &o.Kubeconfig} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if o.Nodes < 0 {
		return fmt.Errorf("%d nodes; give --nodes 0 or more", o.Nodes)
	}
	c := &cluster{Options: o, byName: map[string]*child.Child{}}
	if c.Port != 0 && !free(c.Port) {
		return portInUse(c.Port)
	}

	release, err := c.claimDir()
	if err != nil {
		return err
	}
	defer release()
	if err := removeKubeconfig(c.Kubeconfig); err != nil {
		return err
	}
	if err := c.makeFiles(); err != nil {
		return fmt.Errorf("prepare %s: %w", c.Dir, err)
	}

	defer c.stop()
	if err := c.start(ctx); err != nil {
		if ctx.Err() != nil { // asked to end while it was starting
			return nil
		}
		return err
	}
	if err := writeKubeconfig(c.Kubeconfig, c.url(), c.pki("ca"), c.pki(adminCert)); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	fmt.Fprintln(c.Out, "ready")
	<-ctx.Done()
	return nil
}

// start returns when the cluster is ready.
func (c *cluster) start(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %s; see the logs in %s", patience, c.logDir()))
	defer cancel()

	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if !c.APIOnly {
		if err := c.startControllers(); err != nil {
			return err
		}
		if err := c.ensureNodes(ctx); err != nil {
			return fmt.Errorf("create nodes: %w", err)
		}
		if err := c.ensureStorageClass(ctx); err != nil {
			return fmt.Errorf("create the storage class: %w", err)
		}
		if err := c.waitForSettled(ctx); err != nil {
			return err
		}
	}
	c.say("ready at %s after %.1f s", c.url(), time.Since(began).Seconds())
	return nil
}

// stop ends everything. It is safe to call at any stage of the start.
func (c *cluster) stop() {
	if err := removeKubeconfig(c.Kubeconfig); err != nil {
		c.say("%v", err)
	}
	c.say("stopping")
	c.children.Stop()
	if c.Ephemeral {
		if err := os.RemoveAll(c.Dir); err != nil {
			c.say("remove %s: %v", c.Dir, err)
		}
	}
}

// waitFor calls done until it returns true, an error that isn't temporary,
// or a child has died too often to hope.
func (c *cluster) waitFor(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	const interval = 30 * time.Millisecond
	var last error
	for {
		ok, err := done(ctx)
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if err := c.hopeless(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w)", what, context.Cause(ctx), last)
		case <-time.After(interval):
		}
	}
}

// deaths is how often a component may die before the cluster is ready.
const deaths = 4

func (c *cluster) hopeless() error {
	for name, ch := range c.byName {
		if ch.Exits() >= deaths {
			return fmt.Errorf("%s died %d times before the cluster was ready: %s; see %s", name, deaths, lastLine(ch.LogFile()), ch.LogFile())
		}
	}
	return nil
}

func (c *cluster) say(format string, args ...any) {
	c.progress.Lock()
	defer c.progress.Unlock()
	fmt.Fprintf(c.Progress, format+"\n", args...)
}

func (c *cluster) url() string    { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }
func (c *cluster) runDir() string { return filepath.Join(c.Dir, "run") }
func (c *cluster) logDir() string { return filepath.Join(c.Dir, "log") }

// pki is the path of a key or certificate, without its extension.
func (c *cluster) pki(name string) string { return filepath.Join(c.Dir, "pki", name) }
