package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/sandbox/internal/child"
	"plumb.dev/plumb/sandbox/internal/component"
)

const (
	serviceIPs     = "10.0.0.0/16"
	firstServiceIP = "10.0.0.1"
	issuer         = "https://kubernetes.default.svc.cluster.local"

	// etcdSocket is relative to the components' working directory, because a
	// socket's path may not be longer than about a hundred bytes.
	etcdSocket = "etcd.sock"

	auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`
)

func (c *cluster) auditPolicy() string { return filepath.Join(c.runDir(), "audit-policy.yaml") }

func (c *cluster) run(name string, grace time.Duration, args ...string) error {
	ch, err := c.children.Start(child.Spec{Name: name, Args: append([]string{name}, args...), Grace: grace})
	if err != nil {
		return err
	}
	c.byName[name] = ch
	return nil
}

func (c *cluster) startEtcd(ctx context.Context) error {
	c.say("starting %s", component.Etcd)
	err := c.run(component.Etcd, time.Second,
		"--data-dir", filepath.Join(c.Dir, "etcd"),
		"--socket", etcdSocket,
	)
	if err != nil {
		return err
	}
	return c.waitFor(ctx, component.Etcd, func(context.Context) (bool, error) {
		log, err := os.Stat(filepath.Join(c.runDir(), etcdSocket))
		return err == nil && log.Mode().Type() == os.ModeSocket, nil
	})
}

// startAPIServer returns when the API server is ready. Where it may choose the
// port, and another program takes it just before the API server does, it
// chooses again.
func (c *cluster) startAPIServer(ctx context.Context) error {
	for {
		if err := c.choosePort(); err != nil {
			return err
		}
		err := c.tryAPIServer(ctx)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		c.byName[component.APIServer].Stop()
		if c.Port != 0 {
			return portInUse(c.Port)
		}
	}
}

func (c *cluster) tryAPIServer(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	c.say("starting %s on 127.0.0.1:%d", component.APIServer, c.port)
	args := []string{
		"--etcd-servers=unix://" + etcdSocket,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(c.port),
		"--tls-cert-file=" + c.pki(apiserverCert) + ".crt",
		"--tls-private-key-file=" + c.pki(apiserverCert) + ".key",
		"--client-ca-file=" + c.pki("ca") + ".crt",
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceIPs,
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + c.pki("sa") + ".pub",
		"--service-account-signing-key-file=" + c.pki("sa") + ".key",
		// The aggregation layer: who may say on whose behalf it asks.
		"--requestheader-client-ca-file=" + c.pki("front-proxy-ca") + ".crt",
		"--requestheader-allowed-names=" + frontProxyCert,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.pki(frontProxyCert) + ".crt",
		"--proxy-client-key-file=" + c.pki(frontProxyCert) + ".key",
		// No Pod ever connects to the kubernetes Service, and this address
		// keeps a machine without a network from being an error.
		"--advertise-address=192.0.2.1",
		"--endpoint-reconciler-type=none",
		// The nodes have no address of this type, so what needs a kubelet
		// (kubectl logs, exec) fails at once instead of waiting for one.
		"--kubelet-preferred-address-types=ExternalDNS",
	}
	if c.Audit {
		args = append(args,
			"--audit-policy-file="+c.auditPolicy(),
			"--audit-log-path="+filepath.Join(c.logDir(), "audit.log"),
			"--audit-log-maxsize=10000",
		)
	}
	if err := c.run(component.APIServer, 1500*time.Millisecond, args...); err != nil {
		return err
	}
	apiserver := c.byName[component.APIServer]
	return c.waitFor(ctx, component.APIServer, func(ctx context.Context) (bool, error) {
		if apiserver.Exits() > 0 && strings.Contains(lastLine(apiserver.LogFile()), "address already in use") {
			return false, syscall.EADDRINUSE
		}
		err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		return err == nil, nil
	})
}

// connect writes the components' kubeconfigs for the chosen port and makes
// the client with which the cluster looks at itself.
func (c *cluster) connect() error {
	for _, cert := range []string{adminCert, controllerManagerCert, kwokCert, schedulerCert} {
		if err := writeKubeconfig(c.internalKubeconfig(cert), c.url(), c.pki("ca"), c.pki(cert)); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.internalKubeconfig(adminCert))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1
	config.Timeout = 5 * time.Second
	c.client, err = kubernetes.NewForConfig(config)
	return err
}

func (c *cluster) internalKubeconfig(cert string) string {
	return filepath.Join(c.runDir(), cert+".kubeconfig")
}

func (c *cluster) startControllers() error {
	const grace = 300 * time.Millisecond
	c.say("starting %s", component.ControllerManager)
	err := c.run(component.ControllerManager, grace,
		"--kubeconfig="+c.internalKubeconfig(controllerManagerCert),
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.pki("sa")+".key",
		"--root-ca-file="+c.pki("ca")+".crt",
		"--cluster-signing-cert-file="+c.pki("ca")+".crt",
		"--cluster-signing-key-file="+c.pki("ca")+".key",
		"--controllers="+strings.Join(controllers, ","),
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	)
	if err != nil {
		return err
	}
	c.say("starting %s", component.Scheduler)
	err = c.run(component.Scheduler, grace,
		"--kubeconfig="+c.internalKubeconfig(schedulerCert),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	)
	if err != nil {
		return err
	}
	c.say("starting %s with %d nodes", component.Kwok, c.Nodes)
	return c.run(component.Kwok, grace, "--kubeconfig="+c.internalKubeconfig(kwokCert))
}

// controllers are all but those that need a cloud or real machines.
var controllers = []string{
	"*",
	"-cloud-node-lifecycle-controller",
	"-node-ipam-controller",
	"-node-route-controller",
	"-service-lb-controller",
	"-persistentvolume-attach-detach-controller",
	"-persistentvolume-expander-controller",
}

// choosePort picks the port of the API server: the given one, the one of the
// last run, or any that is free.
func (c *cluster) choosePort() error {
	if c.Port != 0 {
		c.port = c.Port
		return nil
	}
	file := filepath.Join(c.Dir, "port")
	if c.port == 0 {
		text, _ := os.ReadFile(file)
		if last, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && free(last) {
			c.port = last
			return nil
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	c.port = listener.Addr().(*net.TCPAddr).Port
	return os.WriteFile(file, []byte(strconv.Itoa(c.port)+"\n"), 0o600)
}

func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

func portInUse(port int) error {
	return fmt.Errorf("port %d is already in use; stop what listens on it, give --port another one, or leave --port out", port)
}

// lastLine is the last line of a log, for an error message.
func lastLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
