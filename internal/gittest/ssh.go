package gittest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// An SSHServer serves the repositories of a Server over SSH, fetch and push.
type SSHServer struct {
	addr string
	root string
	key  ssh.PublicKey
	ctx  context.Context // of the test

	mu       sync.Mutex
	conns    []net.Conn
	commands []string
	oldGit   bool
}

// SSHOptions say who gets in. With neither, everyone does.
type SSHOptions struct {
	HostKey  ssh.Signer    // nil: a new one
	Accept   ssh.PublicKey // the one key that gets in
	Password string        // the one password that gets in
}

// SSH serves the same repositories over SSH.
func (s *Server) SSH(t testing.TB, o SSHOptions) *SSHServer {
	t.Helper()
	if o.HostKey == nil {
		o.HostKey, _ = NewKey(t, "")
	}
	conf := &ssh.ServerConfig{NoClientAuth: o.Accept == nil && o.Password == ""}
	if o.Accept != nil {
		conf.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if slices.Equal(key.Marshal(), o.Accept.Marshal()) {
				return nil, nil
			}
			return nil, fmt.Errorf("unknown key")
		}
	}
	if o.Password != "" {
		conf.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) == o.Password {
				return nil, nil
			}
			return nil, fmt.Errorf("wrong password")
		}
	}
	conf.AddHostKey(o.HostKey)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &SSHServer{addr: l.Addr().String(), root: s.root, key: o.HostKey.PublicKey(), ctx: t.Context()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			srv.mu.Lock()
			srv.conns = append(srv.conns, conn)
			srv.mu.Unlock()
			wg.Go(func() { srv.serve(conn, conf) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		srv.mu.Lock()
		for _, c := range srv.conns {
			c.Close()
		}
		srv.mu.Unlock()
		wg.Wait()
	})
	return srv
}

// NewKey returns a new key, and its private half in PEM under a passphrase, if
// there is one.
func NewKey(t testing.TB, passphrase string) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// URL is the address of a repository.
func (s *SSHServer) URL(r *Repository) string {
	return "ssh://git@" + s.addr + "/" + r.name + ".git"
}

// Addr is the host and port.
func (s *SSHServer) Addr() string { return s.addr }

// KnownHosts is the line of known_hosts that trusts the server.
func (s *SSHServer) KnownHosts() []byte {
	return []byte(knownhosts.Line([]string{s.addr}, s.key) + "\n")
}

// OldProtocol makes the server speak protocol v0.
func (s *SSHServer) OldProtocol() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldGit = true
}

// Commands returns the commands that clients ran.
func (s *SSHServer) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

func (s *SSHServer) serve(conn net.Conn, conf *ssh.ServerConfig) {
	defer conn.Close()
	c, chans, reqs, err := ssh.NewServerConn(conn, conf)
	if err != nil {
		return
	}
	defer c.Close()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	defer wg.Wait()
	for ch := range chans {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		stream, requests, err := ch.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { s.session(stream, requests) })
	}
}

func (s *SSHServer) session(stream ssh.Channel, requests <-chan *ssh.Request) {
	defer stream.Close()
	env := Env()
	for req := range requests {
		switch req.Type {
		case "env":
			var kv struct{ Name, Value string }
			ok := ssh.Unmarshal(req.Payload, &kv) == nil && kv.Name == "GIT_PROTOCOL"
			s.mu.Lock()
			ok = ok && !s.oldGit
			s.mu.Unlock()
			if ok {
				env = append(env, "GIT_PROTOCOL="+kv.Value)
			}
			_ = req.Reply(ok, nil)
		case "exec":
			var cmd struct{ Line string }
			if ssh.Unmarshal(req.Payload, &cmd) != nil {
				_ = req.Reply(false, nil)
				return
			}
			_ = req.Reply(true, nil)
			status := struct{ Code uint32 }{s.exec(stream, env, cmd.Line)}
			_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(&status))
			return
		default:
			_ = req.Reply(false, nil)
		}
	}
}

// exec runs git's side of a fetch or push, and nothing else.
func (s *SSHServer) exec(stream ssh.Channel, env []string, line string) uint32 {
	s.mu.Lock()
	s.commands = append(s.commands, line)
	s.mu.Unlock()
	name, arg, _ := strings.Cut(line, " ")
	arg = strings.Trim(arg, "'")
	if name != "git-upload-pack" && name != "git-receive-pack" {
		_, _ = io.WriteString(stream.Stderr(), "unknown command\n")
		return 127
	}
	cmd := exec.CommandContext(s.ctx, "git", strings.TrimPrefix(name, "git-"), filepath.Join(s.root, filepath.FromSlash(path.Clean("/"+arg))))
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = stream, stream.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	go func() { // ends with the channel, which its caller closes
		_, _ = io.Copy(in, stream)
		in.Close()
	}()
	if err := cmd.Wait(); err != nil {
		return 128
	}
	return 0
}
