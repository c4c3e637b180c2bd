package kubetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"plumb.dev/plumb/internal/tools"
)

// The packages of a test run are processes that know nothing of each other.
// They meet in a folder:
//
//	lock          whoever starts or ends the control plane holds it
//	supervisor    locked by the process that runs the control plane
//	users/PID.*   locked by each process that uses it
//	kubeconfig    exists while the control plane is ready
//	log           what the supervisor and the control plane said
//	cluster/      state
//
// A lock goes with its process, however that ends. The supervisor ends the
// control plane when no user has been there for a while.
type meeting struct{ dir string }

const (
	// linger is how long the control plane waits for the next user: go test
	// may be compiling the next package.
	linger = 20 * time.Second

	superviseEnv = "PLUMB_KUBETEST_SUPERVISE"
)

// join returns the shared control plane, which it starts if there is none.
func join(k kind) (*Env, error) {
	root, err := tools.Root()
	if err != nil {
		return nil, err
	}
	server := os.Getenv("KUBEBUILDER_ASSETS")
	if k == own {
		if server, err = sandboxProgram(); err != nil {
			return nil, err
		}
	}
	m := meetingFor(root, k, server)
	if err := os.MkdirAll(m.path("users"), 0o700); err != nil {
		return nil, err
	}
	if err := m.enter(k, server); err != nil {
		return nil, err
	}
	if err := m.await(); err != nil {
		return nil, err
	}
	return newEnv(k, m.path("kubeconfig"))
}

// meetingFor is one folder for each clone, user and server program.
func meetingFor(root string, k kind, server string) meeting {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", root, k, server))
	name := fmt.Sprintf("plumb-kubetest-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6]))
	return meeting{filepath.Join(os.TempDir(), name)}
}

func (m meeting) path(name string) string { return filepath.Join(m.dir, name) }

// enter makes this process a user, and sees to it that a supervisor runs.
func (m meeting) enter(k kind, server string) error {
	held, err := locked(m.path("lock"), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer held.Close()
	// Never closed: the end of this process lets go of it.
	if user, err = os.CreateTemp(m.path("users"), fmt.Sprintf("%d.*", os.Getpid())); err != nil {
		return err
	}
	if err := syscall.Flock(int(user.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	supervisor, err := locked(m.path("supervisor"), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil // there is one
	}
	if err != nil {
		return err
	}
	defer supervisor.Close()
	return m.spawn(k, server, supervisor)
}

// user is this process's file among the users; a variable keeps it open.
var user *os.File

// spawn starts this executable again, as the supervisor. It inherits the
// locked file, so that the lock is its own from the start.
func (m meeting) spawn(k kind, server string, lock *os.File) error {
	if err := m.clear(); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(m.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), superviseEnv+"="+m.dir, superviseEnv+"_KIND="+string(k), superviseEnv+"_SERVER="+server)
	cmd.Stdout, cmd.Stderr = log, log // never go test's, which waits for them to close
	cmd.ExtraFiles = []*os.File{lock}
	cmd.Dir = m.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// clear removes what is left of a control plane whose supervisor was killed.
// Its sandbox may still be ending.
func (m meeting) clear() error {
	deadline := time.Now().Add(time.Minute)
	for !unlocked(m.path("cluster/plumb-sandbox.lock")) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the control plane of a supervisor that was killed does not end; see %s", m.path("cluster/log"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.Join(os.RemoveAll(m.path("kubeconfig")), os.RemoveAll(m.path("cluster")))
}

// await returns when the control plane is ready.
func (m meeting) await() error {
	deadline := time.Now().Add(patience)
	for {
		err := m.ready()
		if err == nil {
			return nil
		}
		if unlocked(m.path("supervisor")) {
			return fmt.Errorf("it ended before it was ready:\n%s", m.lastWords())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s: %w\n%s", patience, err, m.lastWords())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (m meeting) ready() error {
	if _, err := os.Stat(m.path("kubeconfig")); err != nil {
		return errNotReady
	}
	env, err := newEnv(own, m.path("kubeconfig"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return env.Ready(ctx)
}

func ready(ctx context.Context, hc *http.Client, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s: %s", errNotReady, resp.Status, body)
	}
	return err
}

// lastWords are the end of the log.
func (m meeting) lastWords() string {
	log, err := os.ReadFile(m.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return m.path("log") + ":\n" + strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// locked opens and locks a file.
func locked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A test binary that is started as the supervisor never gets to its tests.
func init() {
	dir := os.Getenv(superviseEnv)
	if dir == "" {
		return
	}
	k, server := kind(os.Getenv(superviseEnv+"_KIND")), os.Getenv(superviseEnv+"_SERVER")
	if err := (meeting{dir}).supervise(k, server); err != nil {
		fmt.Fprintf(os.Stderr, "supervisor: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervise runs the control plane until nobody has used it for a while.
func (m meeting) supervise(k kind, server string) error {
	const supervisor = 3            // its lock
	syscall.CloseOnExec(supervisor) // it is this process's, not the cluster's
	stop, ended, err := m.run(k, server)
	if err != nil {
		return err
	}
	for lastUse := time.Now(); ; {
		select {
		case err := <-ended:
			return fmt.Errorf("the control plane ended by itself: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
		// While this is held no new user comes in. One that waits for it
		// until this process ends starts the next control plane.
		held, err := locked(m.path("lock"), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK) || err == nil && m.inUse():
			lastUse = time.Now()
		case err != nil:
			return errors.Join(err, stop())
		case time.Since(lastUse) > linger:
			// Let go of in this order: whoever gets the second while the first
			// is held takes this for a supervisor that goes on.
			return errors.Join(stop(), syscall.Close(supervisor), held.Close())
		}
		if held != nil {
			held.Close()
		}
	}
}

// inUse tells whether any process holds its file among the users, and removes
// the files of those that have ended.
func (m meeting) inUse() bool {
	entries, err := os.ReadDir(m.path("users"))
	if err != nil {
		return false
	}
	used := false
	for _, e := range entries {
		path := filepath.Join(m.path("users"), e.Name())
		if !unlocked(path) {
			used = true
			continue
		}
		_ = os.Remove(path) // tried again next time
	}
	return used
}

// unlocked tells whether no process holds the lock of a file; a file that
// isn't there is held by none.
func unlocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// run starts the control plane and returns at once how to stop it, and what
// tells of its end.
func (m meeting) run(k kind, server string) (stop func() error, ended <-chan error, err error) {
	if k == assets {
		return m.runAssets(server)
	}
	// This is the main thread, which lives as long as the process does.
	s, err := startSandbox(server, m.path("cluster"), m.path("kubeconfig"), os.Stderr, "--ephemeral")
	if err != nil {
		return nil, nil, err
	}
	return s.stop, s.ended, nil
}

// runAssets runs the etcd and kube-apiserver of a folder.
func (m meeting) runAssets(dir string) (stop func() error, ended <-chan error, err error) {
	server := &envtest.Environment{BinaryAssetsDirectory: dir, ControlPlaneStartTimeout: patience}
	if _, err := server.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() error {
		return errors.Join(os.Remove(m.path("kubeconfig")), server.Stop())
	}
	partial := m.path("kubeconfig.partial")
	if err := os.WriteFile(partial, server.KubeConfig, 0o600); err != nil {
		return nil, nil, errors.Join(err, server.Stop())
	}
	if err := os.Rename(partial, m.path("kubeconfig")); err != nil {
		return nil, nil, errors.Join(err, server.Stop())
	}
	return stop, nil, nil
}
