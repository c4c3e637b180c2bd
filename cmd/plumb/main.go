// Command plumb keeps clusters true to Git.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"plumb.dev/plumb/cli"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/argocd"
	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/render/helm"
	"plumb.dev/plumb/render/kustomize"
)

// version is set when it is built.
var version = "dev"

func main() {
	helm.Quiet()
	stderr, flush := kustomize.Quiet()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ofFlux := &flux.Options{OwnNamespace: cli.OwnNamespace()}
	dialects := []control.Dialect{ofFlux, &argocd.Options{OwnNamespace: cli.OwnNamespace(), Kubeconfig: &ofFlux.Kubeconfig}}
	code := cli.Main(ctx, version, dialects, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: stderr})
	stop()
	flush()
	os.Exit(code)
}
