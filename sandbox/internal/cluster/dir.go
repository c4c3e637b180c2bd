package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"plumb.dev/plumb/sandbox/internal/child"
	"plumb.dev/plumb/sandbox/internal/pki"
)

// lockFile marks a folder as a cluster's, and is locked while it runs.
const lockFile = "plumb-sandbox.lock"

// claimDir makes the folder, or takes over one that a cluster has used
// before. It takes no other: --ephemeral removes the folder.
func (c *cluster) claimDir() (release func(), err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.Dir, lockFile)
	if _, err := os.Stat(path); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("folder %s is not empty and no sandbox's; give --dir a new or an empty folder", c.Dir)
	}
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("folder %s is in use by another sandbox; stop that one or give --dir another folder", c.Dir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// The certificates, by file name.
const (
	adminCert             = "admin"
	apiserverCert         = "apiserver"
	controllerManagerCert = "controller-manager"
	frontProxyCert        = "front-proxy-client"
	kwokCert              = "kwok"
	schedulerCert         = "scheduler"
)

func (c *cluster) makeFiles() error {
	for _, dir := range []string{c.runDir(), c.logDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	c.children = &child.Group{Exe: c.Exe, RunDir: c.runDir(), LogDir: c.logDir(), Log: c.say}
	if err := os.WriteFile(c.auditPolicy(), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return pki.Ensure(filepath.Join(c.Dir, "pki"),
		[]string{"ca", "front-proxy-ca"},
		[]pki.Leaf{
			{Name: apiserverCert, CA: "ca", User: "kube-apiserver", Hosts: []string{
				"127.0.0.1", "::1", "localhost", firstServiceIP,
				"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			}},
			{Name: frontProxyCert, CA: "front-proxy-ca", User: frontProxyCert},
			{Name: adminCert, CA: "ca", User: "admin", Group: "system:masters"},
			{Name: kwokCert, CA: "ca", User: "kwok", Group: "system:masters"},
			{Name: controllerManagerCert, CA: "ca", User: "system:kube-controller-manager"},
			{Name: schedulerCert, CA: "ca", User: "system:kube-scheduler"},
		},
		[]string{"sa"},
	)
}
