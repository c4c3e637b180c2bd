// Package component holds the parts of a cluster, each as the main function
// of a process of its own: etcd, the three Kubernetes control plane programs,
// the simulated nodes, and kubectl.
//
// [Main] runs one of them with the arguments that the program of that name
// takes (etcd and kwok take only the few that a sandbox needs) and ends with
// the parent that started it. Which parts a cluster has, and with which
// arguments, package cluster knows.
package component

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of CronJobs, on a machine without its own

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what kubectl can log in with
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"plumb.dev/plumb/sandbox/internal/child"
)

// The names that Main knows.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok"
	Kubectl           = "kubectl"
)

// Known tells whether Main can run the named part.
func Known(name string) bool {
	switch name {
	case Etcd, APIServer, ControllerManager, Scheduler, Kwok, Kubectl:
		return true
	}
	return false
}

// Main runs the named part and returns the exit code of its process.
func Main(name string, args []string) int {
	if err := errors.Join(child.FollowParent(), setVersion()); err != nil {
		return report(name, err)
	}
	// The programs read their arguments from here in more places than one.
	os.Args = append([]string{name}, args...)
	switch name {
	case Etcd:
		return report(name, runEtcd(signalContext(), args))
	case Kwok:
		return report(name, runKwok(signalContext(), args))
	case APIServer:
		return run(apiserver.NewAPIServerCommand(), args)
	case ControllerManager:
		return run(controllermanager.NewControllerManagerCommand(), args)
	case Scheduler:
		return run(scheduler.NewSchedulerCommand(), args)
	case Kubectl:
		return runKubectl()
	}
	return report(name, errors.New("no such component"))
}

func run(command *cobra.Command, args []string) int {
	command.SetArgs(args)
	return cli.Run(command)
}

func runKubectl() int {
	// kubectl wants its verbosity before its command is built.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err) // prints it and exits
	}
	return 0
}

func report(name string, err error) int {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// signalContext is done at SIGTERM. The parent alone decides about SIGINT,
// which a terminal doesn't send to its children (see package child).
func signalContext() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	return ctx
}
